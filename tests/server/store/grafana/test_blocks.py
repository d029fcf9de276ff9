"""What is kept as blocks: samples, hours and days of each GPU, held against what the reports said."""

from typing import Any

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE
from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views import daily, hourly, samples
from gpufleet_server.store.tiers import DAY, HOUR, MINUTE, SEALED, USES, begin_of

from tests.server import expected, stored
from tests.server.store.grafana.filled import HOSTS, Filled, at

Rows = dict[tuple[str, int], dict[str, Any]]


def _shown(view: View, filled: Filled) -> Rows:
    rows = [dict(row) for row in filled.rows(view)]
    assert rows
    by_key = {(row["gpu"], row["at"]): row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def _told(filled: Filled, points: list[stored.Sample], step: int) -> Rows:
    """What a view is to show of these, by GPU and time."""
    hosts = {agent.node: host["hostname"] for agent, host in zip(filled.agents, HOSTS, strict=True)}
    rows = {}
    for each in points:
        begin = each.ts - step
        values: dict[str, Any] = {name: each.stored[name] / 1000 for name in USES if name in each.stored}
        values |= {metric.name: metric.value(each.stored[metric.name]) for metric in EVERY_SAMPLE}
        place = {"node": hosts[each.node], "node_uuid": each.node, "position": "ab".index(each.gpu[-1])}
        rows[each.gpu, begin] = {"ts": at(begin), "duration": each.duration / 1000, **place, **values}
    return rows


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def test_samples(filled: Filled) -> None:
    """Each once, sealed or not, its values in their units; absent ones are NULL."""
    shown, told = _shown(samples.VIEW, filled), _told(filled, stored.every(filled.store), 0)
    assert {key: _without(row, "span", "at", "gpu", "gpu_id") for key, row in shown.items()} == told
    assert any(value is None for row in told.values() for value in row.values())
    with filled.store.reading() as connection:
        sealed = connection.exec_driver_sql("SELECT count(*), min(span) FROM sealed").one()
    assert sealed[0] == 6
    assert {row["span"] for row in shown.values()} == {begin_of(ts, SEALED.span) for _, ts in shown}


@pytest.mark.parametrize(("view", "step"), [(hourly.VIEW, HOUR), (daily.VIEW, DAY)], ids=["hourly", "daily"])
def test_rollups(filled: Filled, view: View, step: int) -> None:
    """A point begins where its time does, and says what the samples in it come to."""
    sealed = [each for each in stored.every(filled.store) if (each.gpu, each.ts) in _sealed(filled)]
    points = expected.points(expected.points(sealed, HOUR), DAY) if step == DAY else expected.points(sealed, HOUR)
    shown = _shown(view, filled)
    assert {key: _without(row, "span", "at", "gpu", "gpu_id") for key, row in shown.items()} == _told(
        filled, points, step
    )
    assert all(row["span"] <= row["at"] < row["span"] + (view.span or 0) for row in shown.values())


def _sealed(filled: Filled) -> set[tuple[str, int]]:
    """Of which samples there are rollups: those of hours that are sealed."""
    with filled.store.reading() as connection:
        until = connection.exec_driver_sql("SELECT max(span) FROM sealed").scalar_one() + HOUR
    return {(each.gpu, each.ts) for each in stored.every(filled.store) if each.ts <= until}


def test_one_metric_is_asked_for_without_the_others(filled: Filled) -> None:
    """Columns that nobody asks for are not unpacked, nor are they remembered as a key."""
    query = f"EXPLAIN (VERBOSE) SELECT {samples.VIEW['at']}, {samples.VIEW[BY_NAME['power']]} FROM {samples.VIEW}"
    with filled.store.reading() as connection:
        plan = "\n".join(connection.exec_driver_sql(query).scalars())
    assert "power" in plan
    assert "nvlink_tx_bytes || " not in plan
    assert "sm_active || " not in plan


def test_a_block_is_found_by_its_span(filled: Filled) -> None:
    """`span` of a view says how far back blocks begin that hold a time."""
    assert samples.VIEW.span == HOUR
    assert hourly.VIEW.span == DAY
    newest = max(ts for _, ts in _shown(samples.VIEW, filled))
    assert newest - HOUR < begin_of(newest, HOUR) <= newest + MINUTE
