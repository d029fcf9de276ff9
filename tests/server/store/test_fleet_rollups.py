"""The fleet's hours from its minutes, and counts of states."""

from typing import Any

from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import count_states, group_ids, roll_hours
from gpufleet_server.store.tiers import (
    HOUR,
    MINUTE,
    SIX_HOURS,
    due,
    fleet_groups,
    fleet_hours,
    fleet_minutes,
    fleet_six_hours,
    fleet_states,
)
from sqlalchemy import Table, delete, insert, select, update

from tests.server.fleet import NOW, SECOND, Fleet

HOUR_NOW = NOW // HOUR * HOUR


def _minute(store: Store, ts: int, group_id: int = 1, **values: Any) -> None:
    with store.writing() as connection:
        connection.execute(insert(fleet_minutes), {"group_id": group_id, "ts": ts, "observed": 60_000} | values)


def _rows(store: Store, table: Table, *names: str) -> list[tuple[Any, ...]]:
    with store.reading() as connection:
        query = select(*(table.c[name] for name in names)).order_by(*list(table.primary_key.columns)[::-1])
        return [tuple(row) for row in connection.execute(query)]


def _owe(store: Store, hour: int) -> None:
    with store.writing() as connection:
        connection.execute(insert(due), {"kind": "hour", "node_id": 0, "at": hour})


def test_an_hour_is_made_of_its_minutes(store: Store) -> None:
    """Sums are added, extremes kept, flags united; what ended at the hour belongs to it."""
    names = ("observed", "power", "power_ms", "gpu_temperature", "temperature_margin", "clock_event_reasons")
    _minute(store, HOUR_NOW, power=100.0, power_ms=50, gpu_temperature=40, temperature_margin=-3, clock_event_reasons=1)
    _minute(store, HOUR_NOW - MINUTE, power=1.5, power_ms=10, gpu_temperature=44, clock_event_reasons=12)
    _minute(store, HOUR_NOW + MINUTE, power=7.0, power_ms=1)
    _minute(store, HOUR_NOW, group_id=2)
    roll_hours(store, HOUR_NOW + MINUTE)
    roll_hours(store, HOUR_NOW + 2 * MINUTE)
    assert _rows(store, fleet_hours, "group_id", "ts", *names) == [
        (1, HOUR_NOW, 120_000, 101.5, 60, 44, -3, 13),
        (2, HOUR_NOW, 60_000, None, None, None, None, None),
        (1, HOUR_NOW + HOUR, 60_000, 7.0, 1, None, None, None),
    ]


def test_late_samples_change_their_hour(store: Store) -> None:
    """An hour that is due is made again, once."""
    long_ago = HOUR_NOW - 50 * HOUR
    _minute(store, long_ago + MINUTE, power=1.0, power_ms=1)
    roll_hours(store, NOW)
    assert _rows(store, fleet_hours, "ts") == []
    _owe(store, long_ago)
    assert roll_hours(store, NOW) == 3
    assert _rows(store, fleet_hours, "ts", "power") == [(long_ago + HOUR, 1.0)]
    _minute(store, long_ago + 2 * MINUTE, power=2.0, power_ms=1)
    _owe(store, long_ago)
    roll_hours(store, NOW)
    assert _rows(store, fleet_hours, "ts", "power") == [(long_ago + HOUR, 3.0)]
    assert _rows(store, due, "at") == []


def test_six_hours_are_made_of_their_hours(store: Store) -> None:
    """Flags united, extremes kept; a late sample changes them, and one of which minutes are gone stays."""
    six = HOUR_NOW // SIX_HOURS * SIX_HOURS - 5 * SIX_HOURS
    for hour, power, flags in ((0, 1.0, 1), (3, 2.0, 4), (6, 8.0, 8)):
        values: dict[str, Any] = {
            "power": power,
            "power_ms": 1,
            "gpu_temperature": 40 + hour,
            "clock_event_reasons": flags,
        }
        _minute(store, six + hour * HOUR + MINUTE, **values)
        _owe(store, six + hour * HOUR)
    roll_hours(store, NOW)
    names = ("ts", "observed", "power", "gpu_temperature", "clock_event_reasons")
    later = (six + 2 * SIX_HOURS, 60_000, 8.0, 46, 8)
    assert _rows(store, fleet_six_hours, *names) == [(six + SIX_HOURS, 120_000, 3.0, 43, 5), later]
    _minute(store, six + HOUR, power=4.0, power_ms=1)
    _owe(store, six)
    roll_hours(store, NOW)
    assert _rows(store, fleet_six_hours, *names) == [(six + SIX_HOURS, 180_000, 7.0, 43, 5), later]
    with store.writing() as connection:
        connection.execute(delete(fleet_hours).where(fleet_hours.c.ts <= six + HOUR))
        connection.execute(delete(fleet_minutes).where(fleet_minutes.c.ts <= six + HOUR))
    _owe(store, six + 3 * HOUR)
    roll_hours(store, NOW)
    assert _rows(store, fleet_six_hours, *names) == [(six + SIX_HOURS, 180_000, 7.0, 43, 5), later]


def test_hours_that_ended_while_nobody_was_at_it_are_made(store: Store) -> None:
    """The last one that was begun, and those after it."""
    begun = HOUR_NOW - 5 * HOUR
    _minute(store, begun + MINUTE)
    roll_hours(store, begun + 2 * MINUTE)
    _minute(store, begun + 3 * MINUTE)
    _minute(store, begun + 2 * HOUR + MINUTE)
    roll_hours(store, HOUR_NOW + MINUTE, go_on=iter([True, False]).__next__)
    roll_hours(store, HOUR_NOW + MINUTE)
    expected = [(begun + HOUR, 120_000), (begun + 3 * HOUR, 60_000)]
    assert _rows(store, fleet_hours, "ts", "observed") == expected


def test_an_hour_whose_minutes_are_gone_stays(store: Store) -> None:
    """What came later than minutes are kept makes no partial hour of a whole one."""
    long_ago = HOUR_NOW - 5000 * HOUR
    with store.writing() as connection:
        row = {"group_id": 1, "ts": long_ago + HOUR, "observed": 3_600_000, "power": 9.0}
        connection.execute(insert(fleet_hours), row)
    _minute(store, long_ago + MINUTE, power=1.0)
    _owe(store, long_ago)
    roll_hours(store, NOW)
    assert _rows(store, fleet_hours, "observed", "power") == [(3_600_000, 9.0)]


def test_states_are_counted_each_minute(store: Store, fleet: Fleet) -> None:
    """By site, model and state; removed GPUs are no longer of the fleet, simulated ones apart."""
    well = fleet.node("alpha", site="Oslo")
    silent = fleet.node("beta", site="Oslo", last_seen=NOW - 3600 * SECOND)
    failed = fleet.node("gamma", simulated=True, driver_state="hung")
    for number in range(3):
        fleet.gpu(well, f"GPU-{number}", model="H100")
    fleet.gpu(well, "GPU-lost", model="H100", lost=True)
    fleet.gpu(well, "GPU-removed", model="H100", removed_at=NOW)
    fleet.gpu(silent, "GPU-silent", model="H100", lost=True)
    fleet.gpu(failed, "GPU-failed")
    minute = NOW // MINUTE * MINUTE
    assert count_states(store, NOW) == 4
    assert count_states(store, NOW + 1) == 0
    with store.reading() as connection:
        query = select(fleet_groups, fleet_states).join(
            fleet_states, fleet_groups.c.group_id == fleet_states.c.group_id
        )
        found = {(r.site, r.model, r.simulated, r.state): (r.ts, r.gpus) for r in connection.execute(query)}
    assert found == {
        ("Oslo", "H100", False, "reporting"): (minute, 3),
        ("Oslo", "H100", False, "lost"): (minute, 1),
        ("Oslo", "H100", False, "not_reporting"): (minute, 1),
        ("", "", True, "driver_failed"): (minute, 1),
    }


def test_groups_keep_their_ids(store: Store, fleet: Fleet) -> None:
    """A group that is there is found; only new ones are added."""
    groups = [("", "H100", False, state) for state in ("active", "reporting")]
    with store.writing() as connection:
        first = group_ids(connection, groups[:1])
        both = group_ids(connection, groups)
    assert both[groups[0]] == first[groups[0]]
    assert len(set(both.values())) == 2
    fleet.gpu(fleet.node("alpha"), "GPU-1", model="H100")
    with store.writing() as connection:
        connection.execute(update(fleet_groups).values(site=fleet_groups.c.site))
    count_states(store, NOW)
    assert len(_rows(store, fleet_groups, "group_id")) == 2
