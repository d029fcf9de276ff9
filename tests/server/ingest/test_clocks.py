"""Times are the agent's, corrected by how far its clock is off."""

import pytest
from gpufleet_agent import wire
from gpufleet_server.store.engine import Store

from tests.server.ingest.agents import NOW, SECOND, Server, run


@pytest.mark.parametrize("fast", [-86_400 * SECOND, -31 * SECOND, 2 * SECOND, 3600 * SECOND])
def test_all_times_are_corrected(store: Store, fast: int) -> None:
    """Samples, states, events and the driver's state land at the true time; offset and correction are kept."""

    async def story(server: Server) -> None:
        agent = server.agent(fast=fast)
        wall = agent.clock().wall
        report = agent.report(
            states=[wire.State(wall, "GPU-a", "remap_pending", 1)],
            events=[wire.Event(at=wall, kind="xid", code=79, gpu="GPU-a")],
        )
        server.time.at += 10 * SECOND
        answer = await server.send(agent, report)
        assert answer.json()["clock_offset"] == -fast
        assert server.times() == [NOW]
        assert server.rows("SELECT ts FROM states")[0][0] == NOW
        assert server.rows("SELECT ts FROM events WHERE kind = 'xid'")[0][0] == NOW
        node = server.rows("SELECT clock_offset, clock_measured, driver_since FROM nodes")[0]
        assert tuple(node) == (-fast, -fast, NOW - 60 * SECOND)

    run(store, story)


def test_the_way_of_a_report_moves_nothing(store: Store) -> None:
    """Delays below a second are measured and shown, but times stay as the agent gave them."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for delay in (10_000, 900_000, 300_000):
            server.time.at += SECOND
            report, sent = agent.report(), wire.clock_header(agent.clock())
            wall = agent.clock().wall
            server.time.at += delay
            await server.send(agent, report, **{wire.CLOCK_HEADER: sent})
            assert server.times()[-1] == wall
            assert tuple(server.rows("SELECT clock_offset, clock_measured FROM nodes")[0]) == (0, delay)

    run(store, story)


def test_slow_reports_do_not_pass_for_a_slow_clock(store: Store) -> None:
    """A clock that seems some seconds behind is corrected when three reports in a row say so."""

    async def story(server: Server) -> None:
        agent = server.agent(fast=-7 * SECOND)
        for correction in (0, 0, 7 * SECOND, 7 * SECOND):
            server.time.at += 10 * SECOND
            await server.send(agent, agent.report())
            assert server.rows("SELECT clock_offset FROM nodes")[0][0] == correction

    run(store, story)


def test_a_large_offset_is_an_event_once(store: Store) -> None:
    """When the correction passes 5 s it is told, with its size; while it stays large it is not told again."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for fast in (3, 9, 12, 0, 0, 0, -20, -20, -20):
            server.time.at += 60 * SECOND
            agent.fast = fast * SECOND
            await server.send(agent, agent.report())
        rows = server.rows("SELECT message, source, detail FROM events WHERE kind = 'clock_offset' ORDER BY event_id")
        assert [row.source for row in rows] == ["server", "server"]
        assert "9.0 s ahead of" in rows[0].message
        assert "20.0 s behind" in rows[1].message
        assert server.json(rows[0].detail) == {"offset_s": -9.0}

    run(store, story)


def test_without_a_clock_header_the_correction_stays(store: Store) -> None:
    """A report whose request does not tell the clock is corrected as the one before it."""

    async def story(server: Server) -> None:
        agent = server.agent(fast=30 * SECOND)
        await server.send(agent, agent.report())
        server.time.at += SECOND
        answer = await server.send(agent, agent.report(), **{wire.CLOCK_HEADER: ""})
        assert answer.json()["clock_offset"] == -30 * SECOND
        assert server.times()[-1] == server.time()

    run(store, story)
