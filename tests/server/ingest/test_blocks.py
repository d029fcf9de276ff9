"""What a report becomes: rows that fit a page and an hour, the newest sample of each GPU, minutes of the fleet."""

from typing import Any

from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.domain.use import Use
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import HOUR, begin_of

from tests.server import stored
from tests.server.ingest.agents import SECOND, Agent, Server, run

MINUTE = 60 * SECOND


async def _send(server: Server, agent: Agent, times: list[int], **columns: list[int]) -> None:
    answer = await server.send(agent, agent.report(samples=[agent.samples(times, **columns)]))
    assert answer.status_code == 200, answer.text


def _newest(server: Server, metric: str) -> tuple[list[int], list[int]]:
    row = server.rows(f"SELECT ts, {metric} FROM latest")[0]
    return wire.unpack(row[0], 8), wire.unpack(row[1], BY_NAME[metric].width)


def test_long_blocks_are_cut_at_hours_and_pages(store: Store) -> None:
    """An hour and a half of one agent becomes rows of one hour each, none larger than half a page of PostgreSQL."""

    async def story(server: Server) -> None:
        agent = server.agent()
        wall = agent.clock().wall
        times = [wall - n * 2 * SECOND for n in reversed(range(2700))]
        await _send(server, agent, times, power=list(range(5400)))
        for first, last, size in server.rows("SELECT first, last, length(power) FROM recent"):
            assert begin_of(first, HOUR) == begin_of(last, HOUR)
            assert 0 < size <= 4 * 3600 // 92
        assert server.times() == times
        found = stored.samples(store)
        assert [found[gpu, ts]["power"] for ts in times for gpu in agent.gpus] == list(range(5400))

    run(store, story)


def test_what_comes_late_does_not_become_the_newest(store: Store) -> None:
    """Also where it is of one GPU only, or of one that had no sample yet."""

    async def story(server: Server) -> None:
        agent = server.agent()
        wall = agent.clock().wall
        await _send(server, agent, [wall - 60 * SECOND], power=[1, 2])
        await _send(server, agent, [wall - 90 * SECOND], power=[3, 4])
        assert _newest(server, "power") == ([wall - 60 * SECOND] * 2, [1, 2])
        agent.gpus = ("GPU-b",)
        await _send(server, agent, [wall - 30 * SECOND], power=[5])
        agent.gpus = ("GPU-c", "GPU-a")
        await _send(server, agent, [wall - 80 * SECOND, wall - 70 * SECOND], power=[6, 7, 8, 9])
        times = [wall - 60 * SECOND, wall - 30 * SECOND, wall - 70 * SECOND]
        assert _newest(server, "power") == (times, [1, 5, 8])

    run(store, story)


def test_the_use_of_the_newest_sample_stands_beside_it(store: Store) -> None:
    """Of blocks of all GPUs, and of one GPU when the server has forgotten what was there."""
    known: list[Agent] = []

    async def whole(server: Server) -> None:
        agent = server.agent()
        known.append(agent)
        wall = agent.clock().wall
        times = [wall - 60 * SECOND, wall - 50 * SECOND]
        await _send(server, agent, times, gpu_utilization=[0, 0, 9000, 0], compute_processes=[0, 0, 0, 1])
        assert [*server.rows("SELECT use FROM latest")[0][0]] == [Use.ACTIVE, Use.HELD]

    async def part(server: Server) -> None:
        (agent,) = known
        agent.gpus = ("GPU-b",)
        at = agent.clock().wall - 40 * SECOND
        await _send(server, agent, [at], gpu_utilization=[0], compute_processes=[0])
        assert [*server.rows("SELECT use FROM latest")[0][0]] == [Use.ACTIVE, Use.FREE]

    run(store, whole)
    run(store, part)


def test_minutes_add_up(store: Store) -> None:
    """Sums, extremes and flags by site, model and use, over several reports; absent values are left out."""
    lost = BY_NAME["power"].absent(Reason.LOST)

    async def story(server: Server) -> None:
        agent = server.agent()
        end = agent.clock().wall // MINUTE * MINUTE
        both: dict[str, Any] = {"gpu_utilization": [5000, 5000], "clock_event_reasons": [1, 4]}
        roster = agent.roster({"site": "north"})
        await server.send(agent, agent.report(samples=[], roster=roster))
        await _send(server, agent, [end - 2 * SECOND], power=[10, lost], gpu_temperature=[50, 60], **both)
        await _send(server, agent, [end], power=[30, 50], gpu_temperature=[40, 40], **both)
        await _send(server, agent, [end + SECOND], power=[7, 7], **both)
        query = "SELECT ts, observed, power, power_ms, energy, gpu_temperature, clock_event_reasons FROM fleet_minutes "
        rows = [tuple(row) for row in server.rows(query + "JOIN fleet_groups USING (group_id) ORDER BY ts")]
        assert rows[0][:4] == (end, 4000, 90_000.0, 3000)
        assert rows[0][4:] == (6.0, 60, 5)
        assert rows[1][:2] == (end + MINUTE, 2000)
        groups = {tuple(row) for row in server.rows("SELECT site, model, state FROM fleet_groups")}
        assert groups == {("north", "H100", "active")}

    run(store, story)


def test_late_samples_make_their_hour_due(store: Store) -> None:
    """An hour that is over is rolled up again; the present one is not due yet."""

    async def story(server: Server) -> None:
        agent = server.agent()
        wall = agent.clock().wall
        with store.writing() as connection:
            connection.exec_driver_sql("DELETE FROM due")
        await _send(server, agent, [wall - 5 * HOUR, wall])
        due = [tuple(row) for row in server.rows("SELECT kind, node_id, at FROM due WHERE kind = 'hour'")]
        assert due == [("hour", 0, begin_of(wall - 5 * HOUR, HOUR))]

    run(store, story)
