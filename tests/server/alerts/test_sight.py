"""What rules see is the same from arrays, from the database, and afterwards of that time."""

import pytest
from gpufleet_server.alerts import overrides, use
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.evaluation import asked
from gpufleet_server.alerts.finding import Finding, find
from gpufleet_server.alerts.limits import Limits
from gpufleet_server.alerts.past import sight_of
from gpufleet_server.alerts.rule import Scope
from gpufleet_server.alerts.seen import seen_now
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.trial import trial
from gpufleet_server.domain.use import Use
from gpufleet_server.domain.xids import catalogue
from gpufleet_server.queries.present import USE, present
from gpufleet_server.store import partitions
from gpufleet_server.store import usage as tables
from gpufleet_server.store.engine import Store
from gpufleet_server.store.upkeep import seal_everything
from sqlalchemy import insert, select

from tests.server.alerts import scenario
from tests.server.alerts.player import BEGAN, Player
from tests.server.alerts.scenario import NodeOf, Play, Scenario
from tests.server.fleet import NOW, SECOND, Fleet

_RULES = overrides.usual(every_rule()).rules
# Of other servers' and rules' past nothing is kept.
_OF_THE_PAST = [name for name, each in _RULES.items() if each.rule.scope is not Scope.FLEET]


@pytest.fixture
def played(store: Store) -> Player:
    """A fleet with something of everything, three minutes old."""
    plays = [
        Play(use="busy"),
        Play(at="1m", gpu=1, metrics={"temperature_margin": 1, "remap_pending": 1}),
        Play(at="1m", node="b", gpu=0, metrics={"temperature_margin": "failed"}),
        Play(at="1m", node="c", gpu=0, lost=True, event=scenario.Event(kind="gpu_lost")),
        Play(at="90s", node="b", gpu=1, event=scenario.Event(kind="xid", code=79)),
        Play(at="90s", node="d", driver="unresponsive", event=scenario.Event(kind="driver_unresponsive")),
        Play(at="1m", node="e", sends=False),
    ]
    nodes = [NodeOf(name=name, rack=f"r{name in 'ef'}") for name in "abcd"]
    nodes.append(NodeOf(name="e", count=3, rack="r9", model="NVIDIA H200"))
    given = Scenario(about="", length="3m", rule="gpu_lost", nodes=nodes, play=plays)
    player = Player(store, given)
    player.play()
    return player


def _found(store: Store, name: str, *, arrays: bool, at: int) -> dict[str, Finding]:
    rule = _RULES[name]
    with store.reading() as connection:
        metrics = sorted(asked(rule, store.dialect))
        seen = seen_now(connection, at, metrics) if arrays else None
        return find(connection, rule, Sight(at, rule.limits, store.dialect, seen=seen))


def test_arrays_and_the_database_find_the_same(played: Player) -> None:
    """Every rule, with the same texts."""
    for name in _RULES:
        by_arrays, by_sql = (_found(played.store, name, arrays=arrays, at=played.at) for arrays in (True, False))
        assert by_arrays == by_sql, name
    assert _found(played.store, "hot_against_limits", arrays=True, at=played.at)


@pytest.mark.parametrize("sealed", [False, True])
def test_afterwards_the_same_is_found_of_then(played: Player, sealed: bool) -> None:
    """From what is stored, sealed or not; and nothing of the time before."""
    then = played.at
    now = {name: _found(played.store, name, arrays=True, at=then) for name in _OF_THE_PAST}
    if sealed:
        seal_everything(played.store, then)
    with played.store.reading() as connection:
        for name, found in now.items():
            rule = _RULES[name]
            sight = sight_of(connection, then, rule.limits, sorted(asked(rule, played.store.dialect)))
            assert find(connection, rule, sight).keys() == found.keys(), name
            assert not trial(connection, rule, catalogue(), BEGAN + 30 * SECOND), name


def test_a_trial_tells_whether_it_would_have_fired(played: Player) -> None:
    """What waits five minutes and holds for two is pending."""
    with played.store.reading() as connection:
        tried = trial(connection, _RULES["hot_against_limits"], catalogue(), played.at)
        lost = trial(connection, _RULES["gpu_lost"], catalogue(), played.at)
    assert [one.fires for one in tried] == [False] * 3
    assert [one.fires for one in lost] == [True]


def test_what_a_gpu_is_used_for_is_what_the_ingest_says(store: Store, fleet: Fleet) -> None:
    """For all kinds of samples: busy, with a process, with memory, with neither, with nothing to tell from."""
    kinds: list[dict[str, int]] = [
        {"gpu_utilization": 5000, "compute_processes": 1},
        {"gpu_utilization": 0, "sm_active": 150},
        {"gpu_utilization": 0, "compute_processes": 1},
        {"sm_active": 20, "fb_used": 3 << 20},
        {"gpu_utilization": 0, "compute_processes": 0, "fb_used": 1000},
        {"compute_processes": 1},
    ]
    node = fleet.node("n")
    for number, values in enumerate(kinds):
        fleet.sample(fleet.gpu(node, f"GPU-{number}"), **values)
    with store.reading() as connection:
        fleet_now = present(connection, NOW, [USE])
        told = dict(zip(fleet_now.gpus.gpu_id.tolist(), fleet_now.stored[USE].tolist(), strict=True))
        seen = seen_now(connection, NOW, use.METRICS)
        for condition, word in ((use.active, Use.ACTIVE), (use.held, Use.HELD)):
            for arrays in (seen, None):
                sight = Sight(NOW, Limits({}), store.dialect, seen=arrays)
                gpu = sight.observed(*use.METRICS, where=condition)
                assert set(connection.execute(select(gpu.c.gpu_id)).scalars()) == {
                    gpu_id for gpu_id, value in told.items() if value == word
                }


def test_usage_names_who_has_a_gpu(store: Store, fleet: Fleet) -> None:
    """Of intervals that end now, and of then; those of yesterday are nobody's any more."""
    gpu_id = fleet.gpu(fleet.node("n"), "GPU-1")
    with store.writing() as connection:
        partitions.make_ahead(connection, NOW)
        owner = {"owner_id": 1, "kind": "slurm", "user": "ada", "account": "", "slurm_partition": "", "namespace": ""}
        connection.execute(insert(tables.owners).values(owner))
        for number, job in ((1, "7"), (2, "8")):
            row = {"holder_id": number, "digest": job, "owner_id": 1, "kind": "slurm", "user": "ada", "job": job}
            connection.execute(insert(tables.holders).values(row | {"absent": {}, "first_seen": 0, "last_seen": 0}))
            end = NOW - (1800 * SECOND if number == 1 else 60 * SECOND)
            sums = dict.fromkeys(tables.SUMMED, 0) | {"active": 5000, "observed": 9000, "memory_most": -1}
            key = {"node_id": 1, "begin": end - 3600 * SECOND, "end": end, "slot": 0, "partition": ""}
            connection.execute(
                insert(tables.usage).values(key | sums | {"holder_id": number, "owner_id": 1, "processes": 1})
            )
    with store.reading() as connection:
        for at, job in ((NOW, "8"), (NOW - 1900 * SECOND, "7")):
            had = Sight(at, Limits({}), store.dialect).usage(600)
            found = connection.execute(select(had.c.gpu_id, had.c.user, had.c.job, had.c.active)).all()
            assert (gpu_id, "ada", job, 5.0) in map(tuple, found)
