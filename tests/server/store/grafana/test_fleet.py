"""The fleet over time, by site, model and use, held against what the samples come to; counts of states."""

from typing import Any

import pytest
from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric, Rollup
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import count_states, group_ids
from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views import (
    fleet_groups,
    fleet_hours,
    fleet_minutes,
    fleet_six_hours,
    fleet_states,
    fleet_states_hours,
    fleet_states_six_hours,
    fleet_states_ten_minutes,
    fleet_ten_minutes,
    places,
)
from gpufleet_server.store.tiers import HOUR, MINUTE, SIX_HOURS, TEN_MINUTES
from gpufleet_server.store.tiers import fleet_states as counted
from sqlalchemy import insert, text

from tests.server import expected, stored
from tests.server.fleet import NOW, Fleet
from tests.server.store.grafana.filled import Filled, at

_STEP = {
    "fleet_minutes": MINUTE, "fleet_ten_minutes": TEN_MINUTES, "fleet_hours": HOUR, "fleet_six_hours": SIX_HOURS,
}  # fmt: skip
_VIEWS = [fleet_minutes.VIEW, fleet_ten_minutes.VIEW, fleet_hours.VIEW, fleet_six_hours.VIEW]


def _named(name: str) -> str:
    return name or "(none)"


def _cells(metric: Metric, row: dict[str, Any]) -> dict[str, Any]:
    """What a view is to show of a metric, from sums of stored integers × ms."""
    step = float(metric.step)
    if metric.rollup not in (Rollup.MEAN, Rollup.SUM):
        return {metric.name: metric.value(value) if (value := row[metric.name]) is not None else None}
    total, ms = row[metric.name], row[f"{metric.name}_ms"]
    name, total = (
        (metric.name, total * step) if metric.rollup is Rollup.SUM else (f"{metric.name}_sum", total * step / 1e3)
    )
    return {name: total, f"{metric.name}_seconds": ms / 1000}


@pytest.mark.parametrize("view", _VIEWS, ids=lambda view: view.name)
def test_over_time(filled: Filled, view: View) -> None:
    """Every group of every interval, its sums in units × seconds; what nobody had is NULL, or 0 of 0 seconds."""
    step = _STEP[view.name]
    rows = expected.fleet_rows(filled.store, stored.every(filled.store), step)
    told = {
        (_named(site), _named(model), use, end - step): {"gpu_seconds": row["observed"] / 1000}  # type: ignore[operator]
        | {name: value for metric in EVERY_SAMPLE for name, value in _cells(metric, row).items()}
        for (site, model, use, end), row in rows.items()
    }
    shown = {(row["site"], row["model"], row["use"], row["at"]): dict(row) for row in filled.rows(view)}
    assert shown.keys() == told.keys()
    for key, row in shown.items():
        assert (row["ts"], row["simulated"]) == (at(key[3]), key[0] == "west")
        for name, value in told[key].items():
            found = row[name] if row[name] is not None or not name.endswith(("_sum", "_seconds")) else 0
            assert found == (pytest.approx(value) if value is not None else None) or not (found or value), (key, name)


def test_any_grouping_has_its_mean(filled: Filled) -> None:
    """Of a whole site, over all uses and times: as from the samples themselves."""
    alpha = [each for each in stored.every(filled.store) if each.node == filled.agents[0].node]
    known = [(each.values["power"], each.duration) for each in alpha]
    there = [(value / 10, ms) for value, ms in known if value is not None]
    for view in _VIEWS:
        query = text(f"SELECT {view.mean('power')} FROM {view} WHERE {view['site']} = 'east'")
        with filled.store.reading() as connection:
            mean = connection.execute(query).scalar_one()
        assert mean == pytest.approx(sum(value * ms for value, ms in there) / sum(ms for _, ms in there))


@pytest.mark.parametrize("view", _VIEWS, ids=lambda view: view.name)
def test_a_time_is_found_by_an_index(filled: Filled, view: View) -> None:
    """`at` is not what the table has, and yet what the index knows."""
    query = f"EXPLAIN SELECT {view['site']} FROM {view} WHERE {view['at']} BETWEEN {NOW - HOUR} AND {NOW}"
    with filled.store.reading() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.execute(text(query)).scalars())
    assert f"ix_{view.name}_begin" in plan, plan


def test_places(filled: Filled) -> None:
    """A site and model once, those without one named so."""
    shown = {(row["site"], row["model"], row["simulated"]) for row in filled.rows(places.VIEW)}
    assert shown == {("east", "H100", False), ("west", "A100", True), ("(none)", "(none)", False)}
    assert len(filled.rows(places.VIEW)) == len(shown)


def test_counts_of_states(postgresql: Store) -> None:
    """As they were counted; those for long times at full ten minutes and hours."""
    fleet, hour, six = Fleet(postgresql), NOW // HOUR * HOUR + HOUR, NOW // SIX_HOURS * SIX_HOURS
    node = fleet.node("n1", site="east", last_seen=NOW)
    fleet.gpu(node, "GPU-a", model="H100"), fleet.gpu(node, "GPU-b", model="H100", lost=True)
    fleet.gpu(node, "GPU-c", removed_at=NOW)
    count_states(postgresql, NOW)
    with postgresql.writing() as connection:
        group = ("", "", True, "reporting")
        number = group_ids(connection, [group])[group]
        moments = [six, hour, hour + TEN_MINUTES, hour + TEN_MINUTES + MINUTE]
        rows = [{"group_id": number, "ts": ts, "gpus": 7} for ts in moments]
        connection.execute(insert(counted), rows)
    filled = Filled(postgresql, (), (), ())
    minute = NOW // MINUTE * MINUTE
    views = (fleet_states_six_hours, fleet_states_hours, fleet_states_ten_minutes, fleet_states)
    for count, view in enumerate((each.VIEW for each in views), 1):
        shown = [tuple(row.values()) for row in filled.rows(view, where="simulated", order="at")]
        wanted = [(time, at(time), number, "(none)", "(none)", True, "reporting", 7) for time in moments[:count]]
        assert shown == wanted
    now = [tuple(row.values()) for row in filled.rows(fleet_states.VIEW, where="NOT simulated", order="state")]
    groups = {row["state"]: row["group_id"] for row in filled.rows(fleet_groups.VIEW, where="NOT simulated")}
    counts = [(minute, at(minute), groups[state], "east", "H100", False, state, 1) for state in ("lost", "reporting")]
    assert now == counts
