"""Usage intervals from reports into the store, exactly once."""

from typing import Any

import pytest
from gpufleet_agent import wire
from gpufleet_server.domain.clock import Correction
from gpufleet_server.domain.usage import DAY
from gpufleet_server.ingest import record
from gpufleet_server.ingest.holders import Named, ids
from gpufleet_server.ingest.memory import Memory, Node
from gpufleet_server.store.engine import Store
from gpufleet_server.store.usage import holders
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from tests.server.ingest.agents import NOW, SECOND, Server, Time, run
from tests.server.usage import NOBODY, Interval, intervals, piece, slurm, using

_OTHER = "00000000-0000-4000-8000-00000000000b"


def test_pieces_of_reports_become_one_interval(store: Store) -> None:
    """A job that runs on is one interval, with all that its pieces sum up to; a report sent again adds nothing."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for n in range(3):
            server.time.at = NOW + (n + 1) * 10 * SECOND
            at = server.time.at
            report = using(agent, piece(at - 10 * SECOND, at, active=4000, held=6000))
            for _ in range(2):
                assert (await server.send(agent, report)).status_code == 200
            if n < 2:
                assert intervals(store, NOW) == [
                    Interval("GPU-a", "4711", 0, 10 * (n + 1), 10_000 * (n + 1), 4000 * (n + 1), 6000 * (n + 1))
                ]
        assert intervals(store, NOW) == [Interval("GPU-a", "4711", 0, 30, 30_000, 12_000, 18_000)]
        assert server.rows("SELECT memory_sum, memory_ms, memory_most, activity_sum, activity_ms FROM usage") == [
            ((4 << 20) * 30_000, 30_000, 5 << 30, 5000 * 30_000, 30_000)
        ]
        assert server.rows("SELECT count(*) FROM usage_recent") == [(0,)]
        assert server.statistics.usage == 3

    run(store, story)


def test_a_gap_is_not_bridged(store: Store) -> None:
    """Where an agent saw nothing for longer than its interval there are two intervals, and the time between is lost."""

    async def story(server: Server) -> None:
        agent = server.agent()
        server.time.at = NOW + 60 * SECOND
        report = using(agent, piece(NOW, NOW + 10 * SECOND), piece(NOW + 13 * SECOND, NOW + 20 * SECOND))
        assert (await server.send(agent, report)).status_code == 200
        assert [(each.begin, each.end) for each in intervals(store, NOW)] == [(0, 10), (13, 20)]

    run(store, story)


def test_late_reports_fill_the_gap(store: Store) -> None:
    """What lay in a spool joins the intervals before and after it, also once those are folded."""

    async def story(server: Server) -> None:
        agent = server.agent()
        server.time.at = NOW + 60 * SECOND
        reports = [using(agent, piece(NOW + n * 10 * SECOND, NOW + (n + 1) * 10 * SECOND)) for n in range(3)]
        streams = [f"00000000-0000-4000-8000-0000000000a{n}" for n in range(3)]
        for n in (2, 0, 1):
            reports[n].stream = streams[n]
            assert (await server.send(agent, reports[n])).status_code == 200
            if n == 0:
                assert [(each.begin, each.end) for each in intervals(store, NOW)] == [(0, 10), (20, 30)]
        assert intervals(store, NOW) == [Interval("GPU-a", "4711", 0, 30, 30_000, 30_000, 0)]

    run(store, story)


def test_midnight_cuts(store: Store) -> None:
    """An interval over midnight UTC is two rows, whose sums are what the pieces had."""
    midnight = (NOW // DAY + 1) * DAY

    async def story(server: Server) -> None:
        agent = server.agent()
        report = using(agent, piece(midnight - 4 * SECOND, midnight + 6 * SECOND, active=9999, held=0))
        assert (await server.send(agent, report)).status_code == 200
        assert intervals(store, midnight) == [
            Interval("GPU-a", "4711", -4, 0, 4000, 3999, 0),
            Interval("GPU-a", "4711", 0, 6, 6000, 6000, 0),
        ]

    run(store, story, Time(midnight + 60 * SECOND))


def test_times_are_corrected_as_those_of_samples(store: Store) -> None:
    """A node whose clock is an hour ahead has its intervals where its samples are."""

    async def story(server: Server) -> None:
        agent = server.agent(fast=3600 * SECOND)
        at = agent.clock().wall
        assert (await server.send(agent, using(agent, piece(at - 10 * SECOND, at)))).status_code == 200
        assert [(each.begin, each.end) for each in intervals(store, NOW)] == [(-10, 0)]
        assert server.times() == [NOW]

    run(store, story)


def test_one_job_on_two_nodes_is_one_holder(store: Store) -> None:
    """Slurm's jobs are told apart by their cluster; units of the same name are each node's own."""
    unit = wire.Holder(kind="unit", unit="jupyter.service", uid=7, user="bob")
    labels = {"labels": {"slurm_cluster": "red"}}

    async def story(server: Server) -> None:
        for node, host in (("a", labels), ("b", labels), ("c", {"site": "oslo"}), ("d", {"site": "oslo"}), ("e", {})):
            agent = server.agent(node=f"00000000-0000-4000-8000-00000000000{node}", gpus=(f"GPU-{node}",))
            for roster in (agent.roster(host), None):
                server.time.at += SECOND
                at, gpu = server.time.at, agent.gpus[0]
                pieces = [piece(at - SECOND, at, gpu, number, active=0, held=500) for number in (0, 1)]
                report = using(agent, *pieces, holders=[slurm(), unit], roster=roster)
                assert (await server.send(agent, report)).status_code == 200
        holders = server.rows("SELECT kind, cluster, job, unit FROM holders ORDER BY 1, 2")
        assert [row[1] for row in holders if row[0] == "slurm"] == [f"{_OTHER[:-1]}e", "oslo", "red"]
        assert sum(row[0] == "unit" for row in holders) == 5
        assert server.rows('SELECT kind, "user" FROM owners ORDER BY 1') == [("slurm", "alice"), ("unit", "bob")]

    run(store, story)


def test_what_becomes_known_is_filled_in(store: Store) -> None:
    """A name that the node found later is the holder's from then on, and is not lost when it can't be found again."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for n, user in enumerate((None, "alice", None)):
            server.time.at = NOW + n * 10 * SECOND
            holder = slurm(user=user, absent={} if user else {"user": "no answer"})
            report = using(agent, piece(server.time.at - 10 * SECOND, server.time.at), holders=[holder])
            assert (await server.send(agent, report)).status_code == 200
        assert server.rows('SELECT job, "user" FROM holders') == [("4711", "alice")]
        query = 'SELECT o."user" FROM holders h JOIN owners o ON o.owner_id = h.owner_id'
        assert server.rows(query) == [("alice",)]
        assert len(intervals(store, NOW)) == 1

    run(store, story)


def test_partitions_are_intervals_of_their_own(store: Store) -> None:
    """A holder of two partitions of a GPU has two intervals; the names survive folding again and again."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for n in range(2):
            server.time.at = NOW + n * SECOND
            at = server.time.at
            pieces = [piece(at - SECOND, at, partition=name, active=100) for name in ("MIG-2", "MIG-1")]
            pieces.append(piece(at - SECOND, at, "GPU-b", active=100))
            assert (await server.send(agent, using(agent, *pieces))).status_code == 200
            assert len(intervals(store, NOW)) == 3
        query = "SELECT partition, active FROM usage ORDER BY 1"
        assert server.rows(query) == [("", 200), ("MIG-1", 200), ("MIG-2", 200)]

    run(store, story)


def test_a_gpu_nobody_told_of_is_made(store: Store) -> None:
    """Usage of a GPU that the server has not heard of goes the way of its samples: it gets a row, and its roster
    is asked for."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await server.send(agent, agent.report(roster=agent.roster()))
        server.time.at = NOW + 10 * SECOND
        report = using(agent, piece(NOW, NOW + SECOND, "GPU-new"))
        report.roster_digest = wire.digest(agent.roster())
        answer = await server.send(agent, report)
        assert answer.json()["roster_wanted"]
        assert [each.gpu for each in intervals(store, NOW)] == ["GPU-new"]

    run(store, story)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("usage[0].end", {"end": NOW + 60 * SECOND}),
        ("usage[0].begin", {"begin": NOW - 500 * DAY}),
        ("usage[0]", {"observed": 12_001}),
        ("usage[0]", {"active": 9000, "held": 3001}),
    ],
)
def test_what_makes_no_sense_is_refused(store: Store, field: str, wrong: dict[str, Any]) -> None:
    """Times that can't be, and more time than there was; nothing of such a report is stored."""

    async def story(server: Server) -> None:
        agent = server.agent()
        good = {"begin": NOW - 10 * SECOND, "end": NOW}
        answer = await server.send(agent, using(agent, piece(**good | {"observed": 10_000, "active": 1} | wrong)))
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert server.counts()["samples"] == 0
        assert server.rows("SELECT count(*) FROM usage_recent") == [(0,)]

    run(store, story)


def test_who_uses_it_now(store: Store) -> None:
    """The newest report's holders, without those that had ended; a late report changes nothing, and in the end nobody
    is left."""

    async def story(server: Server) -> None:
        def now() -> list[tuple[int, int]]:
            rows = server.rows("SELECT at, length(pieces) FROM latest_usage")
            return [((at - NOW) // SECOND, length) for at, length in rows]

        agent = server.agent()
        size = 62
        both = [piece(NOW - 10 * SECOND, NOW, active=100), piece(NOW - 10 * SECOND, NOW - 5 * SECOND, "GPU-b", 1)]
        old = using(agent, *both, holders=[slurm(), NOBODY])
        old.stream = "00000000-0000-4000-8000-0000000000a0"
        assert (await server.send(agent, using(agent, *both, holders=[slurm(), NOBODY]))).status_code == 200
        assert now() == [(0, size)]
        server.time.at = NOW + 10 * SECOND
        assert (await server.send(agent, agent.report())).status_code == 200
        assert now() == [(10, 0)]
        assert (await server.send(agent, old)).status_code == 200
        assert now() == [(10, 0)]

    run(store, story)


def test_two_servers_agree_on_holders(store: Store) -> None:
    """Whichever server a report reaches, the holder is the same and the interval is one."""

    async def story(one: Server) -> None:
        async def other_story(other: Server) -> None:
            agent = one.agent()
            for n, server in enumerate((one, other, one)):
                one.time.at = other.time.at = NOW + n * 10 * SECOND
                report = using(agent, piece(one.time.at - 10 * SECOND, one.time.at))
                assert (await server.send(agent, report)).status_code == 200
            assert intervals(store, NOW) == [Interval("GPU-a", "4711", -10, 20, 30_000, 30_000, 0)]

        from tests.server.ingest.agents import serving

        async with serving(store, Time()) as other:
            await other_story(other)

    run(store, story)


def test_a_day_old_memory_within_one_commit(store: Store) -> None:
    """Reports of one node before and after its holders are looked up again both find theirs."""
    node, memory = Node("node", 1, 1, Correction(0), 0, "", "", False), Memory()
    with store.writing() as connection:
        (first,) = ids(connection, memory, [Named(node, [slurm("1")], NOW, NOW)])
        told = [Named(node, [slurm("1")], NOW, NOW + 1), Named(node, [slurm("2")], NOW, NOW + DAY)]
        again, second = ids(connection, memory, told)
        assert again == first != second
        assert ids(connection, memory, [Named(node, [slurm("1")], NOW, NOW + DAY)]) == [first]


def test_a_holder_that_was_removed_meanwhile(store: Store) -> None:
    """However often others were looked up since, one that was not named for a day is looked up again."""
    node, memory = Node("node", 1, 1, Correction(0), 0, "", "", False), Memory()
    with store.writing() as connection:
        for job, days in (("1", 0.0), ("2", 0.6)):
            ids(connection, memory, [Named(node, [slurm(job)], NOW, NOW + int(days * DAY))])
        connection.execute(delete(holders))
        ((found,),) = ids(connection, memory, [Named(node, [slurm("1")], NOW, NOW + int(1.2 * DAY))])
        assert connection.execute(select(holders.c.holder_id)).scalars().all() == [found]
        assert len(node.holders.by_encoded) == 1


def test_jobs_of_a_node_that_goes_to_another_cluster(store: Store) -> None:
    """Its job of the same number is another one from then on."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for n, cluster in enumerate(("green", "blue")):
            server.time.at = NOW + n * 10 * SECOND
            at, roster = server.time.at, agent.roster({"labels": {"slurm_cluster": cluster}})
            report = using(agent, piece(at - 10 * SECOND, at), roster=roster)
            assert (await server.send(agent, report)).status_code == 200
        assert server.rows("SELECT cluster FROM holders ORDER BY 1") == [("blue",), ("green",)]

    run(store, story)


def test_names_that_no_database_takes(store: Store) -> None:
    """A NUL in a name costs nobody the report: it is kept as what stands for what can't be shown."""

    async def story(server: Server) -> None:
        agent = server.agent()
        report = using(agent, piece(NOW - SECOND, NOW), holders=[slurm(user="al\0ice", command="\0")])
        assert (await server.send(agent, report)).status_code == 200
        assert server.rows('SELECT "user", command FROM holders') == [("al\ufffdice", "\ufffd")]
        assert server.rows('SELECT "user" FROM owners') == [("al\ufffdice",)]

    run(store, story)


def test_a_failed_commit_leaves_no_ids_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders that were found in a transaction that was rolled back are looked up again."""

    async def story(server: Server) -> None:
        agent = server.agent()
        with monkeypatch.context() as patched:
            patched.setattr(record, "add_to_minutes", _fail)
            report = using(agent, piece(NOW - SECOND, NOW))
            assert (await server.send(agent, report)).status_code == 503
        assert server.rows("SELECT count(*) FROM holders") == [(0,)]
        assert (await server.send(agent, report)).status_code == 200
        assert [each.holder for each in intervals(store, NOW)] == ["4711"]

    run(store, story)


def _fail(*_: object) -> None:
    raise OperationalError("", None, Exception("disk full"))
