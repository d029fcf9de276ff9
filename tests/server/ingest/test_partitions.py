"""Samples of partitions: kept as blocks of their node, and in none of what is counted by GPU."""

from pathlib import Path
from typing import Any

from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE
from gpufleet_server.store.engine import Store
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.tiers import HOUR

from tests.server import stored
from tests.server.ingest.agents import SECOND, Agent, Server, fresh_id, opened, run

NAMES = [metric.name for metric in EVERY_SAMPLE if metric.of_partitions]


def parted(uuids: list[str], times: list[int], **columns: list[int]) -> wire.Samples:
    """Samples of partitions at these times; metrics that are not named count up from 1."""
    count = len(times) * len(uuids)
    values = {name: [1 + n for n in range(count)] for name in NAMES} | columns
    packed = {name: wire.pack(column, BY_NAME[name].width) for name, column in values.items()}
    durations = wire.pack([1000] * len(times), 4)
    return wire.Samples(gpus=uuids, times=wire.pack(times, 8), durations=durations, columns=packed)


def cut(agent: Agent, *uuids: str, **gpu: Any) -> wire.Roster:
    """The agent's roster with its last GPU cut into these partitions."""
    roster = agent.roster(**gpu)
    roster.gpus[-1].partitions = [wire.Partition(uuid=uuid, profile="1g.10gb") for uuid in uuids]
    return roster


async def sent(server: Server, agent: Agent, **fields: Any) -> dict[str, Any]:
    """The answer to a report that must be taken."""
    answer = await server.send(agent, agent.report(**fields))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def slots(server: Server) -> dict[str, int]:
    """GPU or partition → slot."""
    return dict(
        tuple(row) for row in server.rows("SELECT uuid, slot FROM gpus UNION SELECT uuid, slot FROM partitions")
    )


def test_they_are_counted_in_nothing(store: Store) -> None:
    """Of two nodes that send the same, one with partitions too, all figures are the same: newest, minutes, states."""

    async def story(server: Server) -> None:
        whole, parts = server.agent(), server.agent(node=fresh_id(), gpus=("GPU-c", "GPU-d"))
        uuids = [f"MIG-{n}" for n in range(7)]
        of_nodes: tuple[tuple[Agent, str, list[str]], ...] = ((whole, "whole", []), (parts, "parts", uuids))
        for agent, model, of in of_nodes:
            await sent(server, agent, roster=cut(agent, *of, model=model))
        for _ in range(2):
            server.time.at += 60 * SECOND
            at = server.time.at
            for agent, _, of in of_nodes:
                more = [parted(of, [at], sm_active=[9000] * 7)] if of else []
                await sent(server, agent, samples=[agent.samples([at])], partition_samples=more)
        columns = ", ".join(f'"{metric.name}"' for metric in EVERY_SAMPLE)
        one, other = server.rows(f"SELECT ts, durations, use, {columns} FROM latest ORDER BY node_id")
        assert tuple(one)[1:] == tuple(other)[1:]
        minutes = server.rows("SELECT model, m.* FROM fleet_minutes m JOIN fleet_groups USING (group_id) ORDER BY ts")
        by_model = {model: [tuple(row)[3:] for row in minutes if row[0] == model] for model in ("whole", "parts")}
        assert by_model["whole"] == by_model["parts"] != []
        assert server.rows("SELECT count(*) FROM states") == [(0,)]
        assert server.rows("SELECT count(*) FROM gpus") == [(4,)]
        assert server.statistics.samples == 12

    run(store, story)


def test_they_are_kept_and_sealed(store: Store) -> None:
    """What came is there, recent and sealed, beside the samples of GPUs."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await sent(server, agent, roster=cut(agent, "MIG-1", "MIG-2"))
        wall = agent.clock().wall
        times = [wall - 20 * SECOND, wall - 10 * SECOND]
        given = parted(["MIG-2", "MIG-1"], times, fb_used=[10, 20, 30, 40])
        await sent(server, agent, samples=[agent.samples(times, fb_used=[1, 2, 3, 4])], partition_samples=[given])
        wanted = {("MIG-2", 0): 10, ("MIG-1", 0): 20, ("MIG-2", 1): 30, ("MIG-1", 1): 40, ("GPU-a", 1): 3}
        for _ in range(2):
            found = stored.samples(server.store)
            assert {key: found[key[0], times[key[1]]]["fb_used"] for key in wanted} == wanted
            assert found["MIG-1", times[0]]["power"] is None
            seal_until(server.store, -(-wall // HOUR) * HOUR)
        assert server.rows("SELECT count(*) FROM recent") == [(0,)]

    run(store, story)


def test_unseen_ones_lose_nothing_and_ask_for_the_roster(store: Store) -> None:
    """They have a slot at once; of which GPU they are the roster tells."""

    async def story(server: Server) -> None:
        agent = server.agent()
        roster = agent.roster()
        await sent(server, agent, roster=roster)
        wall = agent.clock().wall
        digest = wire.digest(roster)
        server.time.at += 10 * SECOND
        fields: dict[str, Any] = {"roster_digest": digest, "partition_samples": [parted(["MIG-9"], [wall + 1])]}
        assert (await sent(server, agent, **fields))["roster_wanted"]
        assert server.rows("SELECT gpu_id, slot FROM partitions") == [(None, 2)]
        server.time.at += 10 * SECOND
        await sent(server, agent, roster=cut(agent, "MIG-9"))
        assert server.rows("SELECT g.uuid, p.slot FROM partitions p JOIN gpus g USING (gpu_id)") == [("GPU-b", 2)]
        kinds = server.rows("SELECT partition FROM events WHERE kind = 'partition_added'")
        assert kinds == [("MIG-9",)]
        assert ("MIG-9", wall + 1) in stored.samples(server.store)

    run(store, story)


def test_slots_are_never_given_twice(tmp_path: Path) -> None:
    """Old partitions keep theirs when a GPU is cut anew, also by a server that has to read them from the store."""
    known: list[Agent] = []

    async def before(server: Server) -> None:
        agent = server.agent()
        known.append(agent)
        await sent(server, agent, roster=cut(agent, "MIG-1", "MIG-2"))

    async def after(server: Server) -> None:
        (agent,) = known
        server.time.at += 10 * SECOND
        await sent(server, agent, roster=cut(agent, "MIG-2", "MIG-3"))
        agent.gpus = ("GPU-a", "GPU-b", "GPU-c")
        server.time.at += 10 * SECOND
        await sent(server, agent, roster=cut(agent, "MIG-4"))
        assert slots(server) == {"GPU-a": 0, "GPU-b": 1, "MIG-1": 2, "MIG-2": 3, "MIG-3": 4, "GPU-c": 5, "MIG-4": 6}
        gone = server.rows("SELECT uuid FROM partitions WHERE removed_at IS NOT NULL ORDER BY uuid")
        assert [row[0] for row in gone] == ["MIG-1", "MIG-2", "MIG-3"]

    with opened(tmp_path) as store:
        run(store, before)
        run(store, after)


def test_what_is_wrong_with_them_is_told(store: Store) -> None:
    """The field and the value, and nothing of the report is stored."""

    async def story(server: Server) -> None:
        agent = server.agent()
        wall = agent.clock().wall
        for given, field in (
            (parted(["MIG-1"], [wall], fb_used=[-7]), "partition_samples[0].columns.fb_used[0]"),
            (parted(["MIG-1"], [wall + 60 * SECOND]), "partition_samples[0].times[0]"),
        ):
            answer = await server.send(agent, agent.report(partition_samples=[given]))
            assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert server.counts()["samples"] == 0

    run(store, story)


def test_rows_fit_a_page(store: Store) -> None:
    """Also those of a node with 56 partitions, of whose metrics most are those of whole GPUs."""

    async def story(server: Server) -> None:
        agent = server.agent()
        uuids = [f"MIG-{n}" for n in range(56)]
        wall = agent.clock().wall
        times = [wall - n * SECOND for n in reversed(range(10))]
        await sent(server, agent, roster=cut(agent, *uuids), partition_samples=[parted(uuids, times)])
        lengths = " + ".join(f'coalesce(length("{name}"), 0)' for name in NAMES)
        rows = server.rows(f"SELECT length(slots) / 2, {lengths} FROM recent ORDER BY 1")
        assert [row[0] for row in rows] == [2] + [56] * 5
        assert max(row[1] for row in rows) <= 3600

    run(store, story)
