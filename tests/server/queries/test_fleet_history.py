"""The fleet over time, held against minutes that were put in."""

from typing import Any

import pytest
from gpufleet_agent.catalogue import BY_NAME
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import fleet_history, groups
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.fleet_history import Line
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import group_ids, roll_hour
from gpufleet_server.store.tiers import HOUR, due, fleet_hours, fleet_minutes, fleet_states
from sqlalchemy import delete, insert

from tests.server.fleet import NOW, Fleet

MINUTE = 60_000_000
BEGIN = NOW // HOUR * HOUR


def minute(store: Store, ts: int, site: str, use: Use, gpus: int, *, simulated: bool = False, **values: Any) -> None:
    """GPUs of a site that were used so in the whole minute before `ts`; power in W, energy in J a GPU."""
    ms = gpus * 60_000
    row = {"observed": ms} | {name: value for name, value in values.items() if name not in ("power", "energy")}
    if "power" in values:
        row |= {"power": 10.0 * values["power"] * ms, "power_ms": ms}
    if "energy" in values:
        row |= {"energy": 1000.0 * values["energy"] * gpus, "energy_ms": ms}
    with store.writing() as connection:
        group = (site, "H100", simulated, use.word)
        connection.execute(
            insert(fleet_minutes).values(row | {"ts": ts, "group_id": group_ids(connection, [group])[group]})
        )


def owned(store: Store, ts: int, site: str, **states: int) -> None:
    """How many GPUs of a site were counted in each state."""
    with store.writing() as connection:
        for state, gpus in states.items():
            group = (site, "H100", False, state)
            row = {"ts": ts, "group_id": group_ids(connection, [group])[group], "gpus": gpus}
            connection.execute(insert(fleet_states).values(row))


def ask(store: Store, metric: str, by: Any, start: int, end: int, step: int | None, **wanted: Any) -> dict[Any, Line]:
    """The lines by name."""
    over = fleet_history.grid(start, end, step)
    with store.reading() as connection:
        found = fleet_history.history(connection, BY_NAME[metric], by, FleetFilter(**wanted), over)
    return {line.name: line for line in found.lines}


def two_sites(store: Store) -> None:
    """Two minutes of two sites."""
    owned(store, BEGIN, "east", reporting=4, lost=1)
    owned(store, BEGIN, "", reporting=2)
    for n in (1, 2):
        minute(store, BEGIN + n * MINUTE, "east", Use.ACTIVE, 3, power=600, energy=36_000, gpu_temperature=70 + n)
        minute(store, BEGIN + n * MINUTE, "east", Use.HELD, 1, power=100, energy=6_000, gpu_temperature=40)
        minute(store, BEGIN + n * MINUTE, "", Use.FREE, 2, gpu_temperature=30)
        owned(store, BEGIN + n * MINUTE, "east", reporting=4, lost=1)
        owned(store, BEGIN + n * MINUTE, "", reporting=2)


def test_means_sums_and_extremes_by_site(store: Store) -> None:
    """A mean is weighted by GPU-time, a sum is the total of its step; what nobody measured is absent, not 0."""
    two_sites(store)
    span = (BEGIN, BEGIN + 2 * MINUTE, 2 * MINUTE)
    power, energy = (ask(store, metric, "site", *span) for metric in ("power", "energy"))
    assert (power["east"].values, power[None].values) == ([475.0], [None])
    assert (energy["east"].values, energy[None].values) == ([2 * (3 * 36_000 + 6_000)], [None])
    assert ask(store, "gpu_temperature", None, *span)[None].values == [72]


def test_coverage_is_of_all_gpus_owned(store: Store) -> None:
    """Lost GPUs count as owned; a step in which nothing came is covered by nothing."""
    two_sites(store)
    lines = ask(store, "power", "site", BEGIN, BEGIN + 3 * MINUTE, MINUTE)
    assert lines["east"].coverage == [0.8, 0.8, 0]
    assert (lines["east"].values[2], lines["east"].observed) == (None, [240_000, 240_000, 0])
    assert lines[None].coverage == [1, 1, 0]


def test_without_counts_the_inventory_is_taken(store: Store, fleet: Fleet) -> None:
    """Where upkeep counted nothing yet, coverage is of the GPUs that there are."""
    minute(store, BEGIN + MINUTE, "east", Use.ACTIVE, 1, power=600)
    node = fleet.node("a", site="east")
    for number in range(4):
        fleet.gpu(node, f"GPU-{number}", model="H100")
    assert ask(store, "power", "site", BEGIN, BEGIN + MINUTE, MINUTE)["east"].coverage == [0.25]


def test_by_use(store: Store) -> None:
    """Active and held GPUs apart; a share of a share says nothing, so there is no coverage."""
    two_sites(store)
    lines = ask(store, "power", "state", BEGIN, BEGIN + MINUTE, MINUTE, site=["east"])
    assert {name: line.values for name, line in lines.items()} == {"active": [600], "held": [100]}
    assert lines["held"].coverage == [None]


def test_flags_of_groups_are_united(store: Store) -> None:
    """A bit is set where any group had it."""
    minute(store, BEGIN + MINUTE, "east", Use.ACTIVE, 1, clock_event_reasons=4)
    minute(store, BEGIN + MINUTE, "east", Use.HELD, 1, clock_event_reasons=1)
    minute(store, BEGIN + 2 * MINUTE, "west", Use.HELD, 1, clock_event_reasons=5)
    lines = ask(store, "clock_event_reasons", "site", BEGIN, BEGIN + 2 * MINUTE, 2 * MINUTE)
    assert {name: line.values for name, line in lines.items()} == {"east": [5], "west": [5]}


@pytest.mark.parametrize("gone", [False, True], ids=["minutes", "hours"])
def test_an_hour_counts_once(store: Store, gone: bool) -> None:
    """Rolled up or not, with or without its minutes, at a coarse step and at a fine one."""
    for n in range(1, 121):
        minute(store, BEGIN + n * MINUTE, "east", Use.ACTIVE, 1, energy=1)
    with store.writing() as connection:
        roll_hour(connection, BEGIN)
        if gone:
            connection.execute(delete(fleet_minutes).where(fleet_minutes.c.ts <= BEGIN + HOUR))
    for step in (30 * MINUTE, HOUR, 2 * HOUR):
        line = ask(store, "energy", "site", BEGIN, BEGIN + 2 * HOUR, step)["east"]
        assert sum(value or 0 for value in line.values) == 120, step
        assert sum(line.observed) == 120 * 60_000


def test_hours_of_use(store: Store) -> None:
    """Free, held and active GPU-hours, of how many, and which share of these was observed."""
    two_sites(store)
    with store.reading() as connection:
        found = {
            part.name: part
            for part in fleet_history.use_hours(connection, "site", FleetFilter(), BEGIN, BEGIN + 2 * MINUTE)
        }
    assert found["east"].hours == {
        Use.FREE: 0,
        Use.HELD: pytest.approx(1 / 30),
        Use.ACTIVE: pytest.approx(0.1),
        Use.UNKNOWN: 0,
    }
    assert found["east"].owned == pytest.approx(5 / 30)
    assert found["east"].coverage == pytest.approx(0.8)
    assert found[None].hours[Use.FREE] == pytest.approx(2 / 30)


def hours_of(store: Store, start: int, end: int, **wanted: Any) -> fleet_history.UseHours:
    """The use of all that is wanted, together."""
    with store.reading() as connection:
        (whole,) = fleet_history.use_hours(connection, None, FleetFilter(**wanted), start, end)
    return whole


def test_hours_that_are_kept_for_less_than_minutes(store: Store) -> None:
    """Minutes tell of the time of which hours are gone."""
    for n in range(1, 181):
        minute(store, BEGIN + n * MINUTE, "east", Use.ACTIVE, 1, energy=1)
    with store.writing() as connection:
        for n in range(3):
            roll_hour(connection, BEGIN + n * HOUR)
        connection.execute(delete(fleet_hours).where(fleet_hours.c.ts <= BEGIN + HOUR))
    assert ask(store, "energy", "site", BEGIN, BEGIN + 3 * HOUR, HOUR)["east"].values == [60, 60, 60]
    assert hours_of(store, BEGIN, BEGIN + 3 * HOUR).hours[Use.ACTIVE] == pytest.approx(3)


@pytest.mark.parametrize("late", [False, True], ids=["newest", "late"])
def test_hours_that_are_not_rolled_up_for_good(store: Store, late: bool) -> None:
    """What came after an hour's rollup counts before it is made again: of the newest, and of one that is due."""
    for n in range(1, 181):
        minute(store, BEGIN + n * MINUTE, "east", Use.ACTIVE, 1, energy=1)
    more = BEGIN + (HOUR if late else 2 * HOUR) + 30 * MINUTE
    with store.writing() as connection:
        for n in range(3):
            roll_hour(connection, BEGIN + n * HOUR)
        if late:
            connection.execute(insert(due), {"kind": "hour", "node_id": 0, "at": BEGIN + HOUR})
    minute(store, more, "west", Use.ACTIVE, 1, energy=1)
    lines = ask(store, "energy", "site", BEGIN, BEGIN + 3 * HOUR, HOUR)
    assert lines["east"].values == [60, 60, 60]
    assert [value or 0 for value in lines["west"].values] == ([0, 1, 0] if late else [0, 0, 1])


def test_what_was_owned_long_ago(store: Store) -> None:
    """Of old counts one an hour is left: it counts for the whole of it, not what the fleet is today."""
    for n in range(48):
        owned(store, BEGIN + n * HOUR, "east", reporting=4)
    owned(store, BEGIN + 100 * 24 * HOUR, "east", reporting=40)
    assert hours_of(store, BEGIN + 7 * MINUTE, BEGIN + 24 * HOUR + 7 * MINUTE).owned == pytest.approx(4 * 24)


def test_what_was_owned_before_anybody_counted(store: Store, fleet: Fleet) -> None:
    """GPUs count from when they were seen first to when they were removed."""
    node = fleet.node("a", site="east", first_seen=BEGIN + HOUR)
    fleet.gpu(node, "GPU-0", first_seen=BEGIN + HOUR)
    fleet.gpu(node, "GPU-1", first_seen=BEGIN + HOUR, removed_at=BEGIN + 2 * HOUR)
    fleet.gpu(node, "GPU-2", first_seen=BEGIN + 3 * HOUR)
    owned(store, BEGIN + 4 * HOUR, "east", reporting=5)
    for by in ("site", None):
        with store.reading() as connection:
            ends = [BEGIN + n * HOUR + MINUTE for n in range(5)]
            found = groups.owned(connection, by, FleetFilter(site=["east"]), ends)
        assert list(found.values()) == [[0, 2, 1, 2, 5]]
    whole = hours_of(store, BEGIN - 1000 * HOUR, BEGIN + 2 * HOUR)
    assert 1.8 <= whole.owned <= 2.1


def test_what_was_owned_of_a_new_site(store: Store) -> None:
    """Before it was counted for the first time, while others were, it had no GPUs: alone as beside the others."""
    for n in range(11):
        owned(store, BEGIN + n * HOUR, "east", reporting=4)
    owned(store, BEGIN + 10 * HOUR, "west", reporting=6)
    span = (BEGIN, BEGIN + 10 * HOUR, HOUR)
    beside, alone = (ask(store, "power", "site", *span, site=site)["west"] for site in ([], ["west"]))
    assert alone.coverage == beside.coverage == [None] * 9 + [0]


def test_what_is_simulated_is_told(store: Store) -> None:
    """In a part of the fleet as much as its GPUs were observed."""
    minute(store, BEGIN + MINUTE, "east", Use.ACTIVE, 3, power=600)
    minute(store, BEGIN + MINUTE, "east", Use.ACTIVE, 1, simulated=True, power=600)
    line = ask(store, "power", "site", BEGIN, BEGIN + MINUTE, MINUTE)["east"]
    assert (line.simulated, sum(line.observed)) == (60_000, 240_000)
    assert hours_of(store, BEGIN, BEGIN + MINUTE).simulated == 0.25


def test_a_range_without_length(store: Store) -> None:
    """It has no steps and no hours, whoever owns what."""
    owned(store, BEGIN, "east", reporting=4)
    over = fleet_history.grid(BEGIN + HOUR, BEGIN + 2 * HOUR, HOUR).until(BEGIN)
    with store.reading() as connection:
        assert fleet_history.history(connection, BY_NAME["power"], "site", FleetFilter(), over).lines == []
    empty = hours_of(store, BEGIN + HOUR, BEGIN + HOUR)
    assert (empty.owned, empty.coverage, sum(empty.hours.values())) == (0, None, 0)


def test_a_step_is_whole_minutes() -> None:
    """The fleet's history is no finer."""
    with pytest.raises(Problem, match="whole minutes") as refused:
        fleet_history.grid(BEGIN, BEGIN + HOUR, 90_000_000)
    assert refused.value.field == "step"


def test_a_fleet_that_was_not_observed(store: Store, fleet: Fleet) -> None:
    """GPUs that are owned and of which nothing came: no line by use, and a coverage of 0."""
    fleet.gpu(fleet.node("n1"), "GPU-a")
    over = fleet_history.grid(NOW - 3 * MINUTE, NOW, MINUTE)
    with store.reading() as connection:
        found = fleet_history.history(connection, BY_NAME["power"], "state", FleetFilter(), over)
    assert found.lines == []
    assert set(found.coverage) == {0.0}
