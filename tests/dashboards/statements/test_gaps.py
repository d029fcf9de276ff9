"""A line ends where nothing was told, and nowhere else."""

import pytest
from gpufleet_dashboards.statements.gaps import ended, evenly

from tests.dashboards.grafana_sql.ask import sql
from tests.dashboards.grafana_sql.front import Asked, Range
from tests.dashboards.grafana_sql.intervals import of_range
from tests.dashboards.statements.conftest import Database


def _told(
    database: Database, rows: list[tuple[int, str, float, float]], until: str = ""
) -> list[tuple[float, str, float | None]]:
    """Rows of second, GPU, value and step; what comes of them, in the order of GPUs."""
    values = ", ".join(
        f"(to_timestamp({at}), '{gpu}', {value}::float8, {step}::float8)" for at, gpu, value, step in rows
    )
    sql = ended(f"SELECT * FROM (VALUES {values}) AS each (time, gpu, value, step)", ("gpu",), ("value",), until)
    seconds = f"SELECT extract(epoch FROM time)::float8, gpu, value FROM ({sql}) AS lines ORDER BY gpu, time"
    return [(float(str(at)), str(gpu), value) for at, gpu, value in database.execute(seconds.encode())]  # type: ignore[misc]


def test_a_gap_is_a_null_of_its_own_series(database: Database) -> None:
    """One GPU is silent for two steps: its line ends, the other's goes on."""
    rows = [(at, "a", 1.0, 10.0) for at in (0, 30)] + [(at, "b", 2.0, 10.0) for at in (0, 10, 20, 30)]
    assert _told(database, rows) == [
        (0, "a", 1), (10, "a", None), (30, "a", 1),
        (0, "b", 2), (10, "b", 2), (20, "b", 2), (30, "b", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("at", [10, 14])
def test_what_comes_a_little_late_is_no_gap(database: Database, at: int) -> None:
    """Samples do not come to the second."""
    assert _told(database, [(0, "a", 1.0, 10.0), (at, "a", 1.0, 10.0)]) == [(0, "a", 1), (at, "a", 1)]


def test_samples_further_apart_than_intervals_are_no_gaps(database: Database) -> None:
    """An agent that samples once a minute has lines too, where a panel has an interval of ten seconds."""
    rows = [(at, "a", 1.0, 60.0) for at in (0, 60, 120)]
    assert [value for _, _, value in _told(database, rows)] == [1, 1, 1]


def test_the_last_one_ends_where_no_more_was_told(database: Database) -> None:
    """Grafana would draw its band to the end of the range; what may still come has not ended."""
    rows = [(0, "a", 1.0, 10.0), (0, "b", 2.0, 10.0), (10, "b", 2.0, 10.0)]
    assert _told(database, rows, "to_timestamp(24)") == [(0, "a", 1), (10, "a", None), (0, "b", 2), (10, "b", 2)]
    assert _told(database, rows, "to_timestamp(26)")[-1] == (20, "b", None)


@pytest.mark.parametrize(("told", "times"), [("(20, 'a'), (20, 'b')", [0, 10, 20, 20, 30]), ("(99, 'a')", [])])
def test_bars_of_what_is_rare_have_neighbours(database: Database, told: str, times: list[int]) -> None:
    """By how close times are Grafana tells how wide bars are; where there is nothing, nothing is made of it."""
    each = f"(VALUES {told}) AS each (at, what)"
    rows = f"SELECT to_timestamp(at) AS time, what, 1::float8 AS often FROM {each} WHERE at < 40"
    interval = of_range(40_000, 4, "10s")
    asked = sql(evenly(rows, ("what",), ("often",)), Asked(Range(0, 40_000), interval=interval)).sql
    found = database.execute(f"SELECT extract(epoch FROM time)::float8, what, often FROM ({asked}) AS bars".encode())
    shown = [(float(str(at)), what, often) for at, what, often in found]
    assert [at for at, _, _ in shown] == times
    assert sorted(str(what) for _, what, often in shown if often is not None) == (["a", "b"] if times else [])
