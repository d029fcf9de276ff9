"""Rosters become rows, and what they change becomes events."""

from typing import Any, Literal

import pytest
from gpufleet_agent import wire
from gpufleet_server.store.engine import Store

from tests.server.ingest.agents import NOW, SECOND, Agent, Server, fresh_id, run


async def _send(server: Server, agent: Agent, roster: wire.Roster | None = None, **fields: Any) -> dict[str, Any]:
    server.time.at += SECOND
    answer = await server.send(agent, agent.report(roster=roster, **fields))
    assert answer.status_code == 200, answer.text
    ack: dict[str, Any] = answer.json()
    return ack


def _events(server: Server) -> list[tuple[str, dict[str, Any]]]:
    """Kind and detail of the events since the last call."""
    rows = server.rows("SELECT event_id, kind, detail, source FROM events ORDER BY event_id")
    with server.store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM events")
    return [(row.kind, server.json(row.detail)) for row in rows]


def test_a_roster_is_kept_as_it_came(store: Store) -> None:
    """Facts in columns and whole, for the node, its GPUs and their partitions."""

    async def story(server: Server) -> None:
        agent = server.agent()
        roster = agent.roster({"site": "north", "rack": "r7", "simulated": True}, memory_total=80 << 30, state="ok")
        roster.gpus[1].partitions = [wire.Partition(uuid="MIG-1", profile="1g.10gb")]
        ack = await _send(server, agent, roster)
        assert not ack["roster_wanted"]
        node = server.rows("SELECT hostname, site, room, rack, simulated, agent_version, facts FROM nodes")[0]
        assert tuple(node)[:6] == ("alpha", "north", None, "r7", 1, "0.1.0")
        assert server.json(node.facts)["driver_version"] == "570.1"
        gpu = server.rows("SELECT vendor, model, serial, position, memory_total, lost, removed_at, identity FROM gpus")[
            1
        ]
        assert tuple(gpu)[:7] == ("NVIDIA", "H100", "S-GPU-b", 1, 80 << 30, 0, None)
        assert server.json(gpu.identity)["uuid"] == "GPU-b"
        assert [tuple(row) for row in server.rows("SELECT uuid, profile, removed_at FROM partitions")] == [
            ("MIG-1", "1g.10gb", None)
        ]

    run(store, story)


def test_a_new_node_is_one_event(store: Store) -> None:
    """However many GPUs and partitions its first roster has; those that come later are told one by one."""

    async def story(server: Server) -> None:
        agent = server.agent()
        roster = agent.roster()
        roster.gpus[1].model = None
        roster.gpus[1].partitions = [wire.Partition(uuid="MIG-1")]
        await _send(server, agent, roster)
        assert _events(server) == [("node_added", {"gpus": 2, "models": {"H100": 1, "unknown": 1}})]
        agent.gpus = ("GPU-a", "GPU-b", "GPU-c")
        grown = agent.roster()
        grown.gpus[1].partitions = [wire.Partition(uuid=uuid) for uuid in ("MIG-1", "MIG-2")]
        await _send(server, agent, grown)
        assert [kind for kind, _ in _events(server)] == ["partition_added", "gpu_added"]

    run(store, story)


def test_a_node_without_gpus_is_told_too(store: Store) -> None:
    """An agent may be there before its driver is."""

    async def story(server: Server) -> None:
        agent = server.agent(gpus=())
        roster = wire.Roster(host=agent.roster().host, gpus=[])
        await _send(server, agent, roster, samples=[])
        assert _events(server) == [("node_added", {"gpus": 0, "models": {}})]

    run(store, story)


def test_gpus_come_go_and_come_back(store: Store) -> None:
    """A GPU that a roster no longer holds is removed, not forgotten; back again it is the same row."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await _send(server, agent, agent.roster())
        _events(server)
        agent.gpus = ("GPU-b", "GPU-c")
        await _send(server, agent, agent.roster())
        assert [(kind, about.get("serial")) for kind, about in _events(server)] == [
            ("gpu_changed", None),
            ("gpu_added", "S-GPU-c"),
            ("gpu_removed", "S-GPU-a"),
        ]
        assert server.rows("SELECT removed_at FROM gpus WHERE uuid = 'GPU-a'")[0][0] == server.time()
        agent.gpus = ("GPU-a", "GPU-b", "GPU-c")
        await _send(server, agent, agent.roster())
        assert ("gpu_added", "S-GPU-a") in [(kind, about.get("serial")) for kind, about in _events(server)]
        assert server.counts()["gpus"] == 3
        assert not server.rows("SELECT 1 FROM gpus WHERE removed_at IS NOT NULL")

    run(store, story)


def test_what_changed_is_told_by_field(store: Store) -> None:
    """Each changed field of a node or GPU is an event with its old and new value."""

    async def story(server: Server) -> None:
        agent = server.agent()
        host = {"labels": {"team": "a", "gone": "x"}, "rack": "r1"}
        await _send(server, agent, agent.roster(host, vbios_version="96.1"))
        _events(server)
        host = {"labels": {"team": "b"}, "driver_version": "580.2"}
        await _send(server, agent, agent.roster(host, vbios_version="96.2"))
        changes = [(kind, about["field"], about["old"], about["new"]) for kind, about in _events(server)]
        assert changes == [
            ("node_changed", "driver_version", "570.1", "580.2"),
            ("node_changed", "rack", "r1", None),
            ("node_changed", "labels.gone", "x", None),
            ("node_changed", "labels.team", "a", "b"),
            ("gpu_changed", "vbios_version", "96.1", "96.2"),
            ("gpu_changed", "vbios_version", "96.1", "96.2"),
        ]

    run(store, story)


def test_the_same_roster_again_tells_nothing(store: Store) -> None:
    """An agent that restarts sends its roster again; nothing has happened."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await _send(server, agent, agent.roster())
        _events(server)
        await _send(server, agent, agent.roster())
        assert _events(server) == []

    run(store, story)


def test_a_lost_gpu_keeps_its_identity(store: Store) -> None:
    """What a lost GPU can no longer tell stays known, and is no change; its partitions stay too."""

    async def story(server: Server) -> None:
        agent = server.agent(gpus=("GPU-a",))
        roster = agent.roster(vbios_version="96.1")
        roster.gpus[0].partitions = [wire.Partition(uuid="MIG-1")]
        await _send(server, agent, roster)
        _events(server)
        lost = wire.Gpu(uuid="GPU-a", vendor="NVIDIA", index=0, state="lost")
        await _send(server, agent, wire.Roster(host=roster.host, gpus=[lost]))
        row = server.rows("SELECT serial, model, lost, identity FROM gpus")[0]
        assert tuple(row)[:3] == ("S-GPU-a", "H100", 1)
        assert server.json(row.identity)["vbios_version"] == "96.1"
        assert server.rows("SELECT removed_at FROM partitions")[0][0] is None
        assert _events(server) == []

    run(store, story)


def test_partitions_come_and_go(store: Store) -> None:
    """Each MIG instance that is made or destroyed is an event of its GPU."""

    async def story(server: Server) -> None:
        agent = server.agent(gpus=("GPU-a",))
        for uuids in ((), ("MIG-1", "MIG-2"), ("MIG-2",), ("MIG-1", "MIG-2")):
            roster = agent.roster()
            roster.gpus[0].partitions = [wire.Partition(uuid=uuid, profile="1g") for uuid in uuids]
            await _send(server, agent, roster)
        rows = server.rows("SELECT kind, partition FROM events WHERE kind LIKE 'partition%' ORDER BY event_id")
        assert [tuple(row) for row in rows] == [
            ("partition_added", "MIG-1"),
            ("partition_added", "MIG-2"),
            ("partition_removed", "MIG-1"),
            ("partition_added", "MIG-1"),
        ]

    run(store, story)


def test_an_unknown_gpu_loses_nothing(store: Store) -> None:
    """Samples, states and events of a GPU the server has not heard of are kept, and the roster is asked for."""

    async def story(server: Server) -> None:
        agent = server.agent()
        wall = agent.clock().wall
        fields: dict[str, Any] = {"states": [wire.State(wall, "GPU-x", "remap_pending", 1)], "roster_digest": "d"}
        ack = await _send(server, agent, events=[wire.Event(at=wall, kind="xid", gpu="GPU-y")], **fields)
        assert ack["roster_wanted"]
        assert server.counts() | {"gpus": 4, "samples": 2, "states": 1, "events": 1} == server.counts()
        assert server.rows("SELECT hostname, facts FROM nodes")[0].hostname == "enrolled-name"
        assert not (await _send(server, agent, agent.roster()))["roster_wanted"]
        assert [kind for kind, _ in _events(server)] == ["xid", "node_added", "gpu_removed", "gpu_removed"]

    run(store, story)


def test_the_roster_is_asked_for_when_it_is_another(store: Store) -> None:
    """A digest that the server does not have makes it ask, until the roster comes."""

    async def story(server: Server) -> None:
        agent = server.agent()
        roster = agent.roster()
        digest = wire.digest(roster)
        await _send(server, agent, roster)
        assert not (await _send(server, agent, roster_digest=digest))["roster_wanted"]
        assert (await _send(server, agent, roster_digest="another"))["roster_wanted"]
        assert not (await _send(server, agent, roster, roster_digest="another"))["roster_wanted"]
        assert not (await _send(server, agent, roster_digest="another"))["roster_wanted"]

    run(store, story)


def test_the_same_uuid_in_two_nodes_is_two_gpus(store: Store) -> None:
    """A node speaks only for its own: nobody can write into another's GPU."""

    async def story(server: Server) -> None:
        one, other = server.agent(), server.agent(node=fresh_id())
        await _send(server, one, one.roster())
        await _send(server, other, other.roster())
        assert server.counts() | {"nodes": 2, "gpus": 4, "samples": 4} == server.counts()

    run(store, story)


def test_the_newest_sample_and_the_last_report_are_known(store: Store) -> None:
    """`latest` has the agent's time, `last_seen` is the server's."""

    async def story(server: Server) -> None:
        agent = server.agent()
        report = agent.report(backlog=wire.Backlog(reports=3, bytes=99, dropped=1))
        server.time.at += 500_000
        await server.send(agent, report)
        assert wire.unpack(server.rows("SELECT ts FROM latest")[0][0], 8) == [NOW, NOW]
        columns = "last_seen, interval_ms, driver_state, backlog_reports, backlog_bytes, backlog_dropped"
        assert tuple(server.rows(f"SELECT {columns} FROM nodes")[0]) == (NOW + 500_000, 1000, "ok", 3, 99, 1)

    run(store, story)


@pytest.mark.parametrize("state", ["paused", "absent", "failed", "unresponsive"])
def test_an_agent_that_starts_without_its_driver_knows_no_gpus(
    store: Store, state: Literal["paused", "absent"]
) -> None:
    """What the node held is still there, and what its driver was is compared with what it will be."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await _send(server, agent, agent.roster())
        _events(server)
        held, agent.gpus = agent.gpus, ()
        driver = wire.Driver(state=state, since=NOW)
        await _send(server, agent, agent.roster({"driver_version": None}), samples=[], driver=driver)
        assert _events(server) == []
        assert [tuple(row) for row in server.rows("SELECT uuid, removed_at FROM gpus")] == [
            ("GPU-a", None),
            ("GPU-b", None),
        ]
        agent.gpus = held[:1]
        await _send(server, agent, agent.roster({"driver_version": "580.2"}))
        assert [(kind, about.get("new")) for kind, about in _events(server)] == [
            ("node_changed", "580.2"),
            ("gpu_removed", None),
        ]

    run(store, story)
