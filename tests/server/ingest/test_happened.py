"""What a second source confirms is added to the first's event, and never makes another."""

import contextlib
from typing import Any

from gpufleet_agent import wire
from gpufleet_server.store.engine import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.fixtures import NewDatabase
from tests.server.ingest.agents import SECOND, Server, run

TEXT = "pid=1, GPU has fallen off the bus."


def xid(at: int, source: str = "nvml", code: int = 79) -> wire.Event:
    """An XID of the first GPU."""
    return wire.Event(at=at, kind="xid", code=code, gpu="GPU-a", source=source)


def confirmed(first: wire.Event, by: str = "kernel log") -> wire.Event:
    """What another source says to it."""
    detail: dict[str, Any] = {"confirms": first.source, "pid": 1}
    return wire.Event(
        at=first.at, kind=wire.XID_CONFIRMED, code=first.code, gpu="GPU-a", source=by, message=TEXT, detail=detail
    )


def shown(server: Server) -> list[tuple[Any, ...]]:
    """Kind, code, source, message and detail of every event of a GPU, oldest first."""
    rows = server.rows(
        "SELECT kind, code, source, message, detail FROM events WHERE code IS NOT NULL ORDER BY event_id"
    )
    return [(*row[:4], server.json(row[4])) for row in rows]


def test_a_confirmation_is_added_to_what_it_confirms(store: Store) -> None:
    """In the same report or in a later one; the first source's word stands, the other's is there too."""

    async def story(server: Server) -> None:
        agent = server.agent()
        at = agent.clock().wall
        first, second = xid(at - SECOND), xid(at, code=31)
        await server.send(agent, agent.report(events=[first, second, confirmed(first)]))
        server.time.at += SECOND
        again = agent.report(events=[confirmed(second)])
        await server.send(agent, again)
        assert (await server.send(agent, again)).json()["duplicate"]
        detail = {"pid": 1, "sources": ["nvml", "kernel log"]}
        told = [("xid", code, "nvml, kernel log", TEXT, detail) for code in (79, 31)]
        assert shown(server) == told

    run(store, story)


def test_a_confirmation_of_what_never_came_is_the_event(store: Store) -> None:
    """The first was dropped on its way: then the second is all there is, and it is not lost."""

    async def story(server: Server) -> None:
        agent = server.agent()
        at = agent.clock().wall
        lost, other = xid(at - 5 * SECOND), xid(at)
        await server.send(agent, agent.report(events=[other, confirmed(lost)]))
        assert [row[:3] for row in shown(server)] == [("xid", 79, "nvml"), ("xid", 79, "kernel log")]

    run(store, story)


def test_a_confirmation_is_of_its_own_node(store: Store) -> None:
    """What two nodes had at once of GPUs that are not known stays apart."""

    async def story(server: Server) -> None:
        one, other = server.agent(), server.agent(node="00000000-0000-4000-8000-00000000000b")
        first = wire.Event(at=one.clock().wall, kind="xid", code=79, source="kernel log")
        second = wire.Event(
            at=first.at, kind=wire.XID_CONFIRMED, code=79, source="nvml", detail={"confirms": first.source}
        )
        await server.send(one, one.report(events=[first]))
        await server.send(other, other.report(events=[second]))
        assert [row[:3] for row in shown(server)] == [("xid", 79, "kernel log"), ("xid", 79, "nvml")]

    run(store, story)


def test_a_clock_that_is_corrected_meanwhile_finds_it_still(store: Store) -> None:
    """The event was stored with the correction of its own report."""

    async def story(server: Server) -> None:
        agent = server.agent(fast=-40 * SECOND)
        first = xid(agent.clock().wall)
        await server.send(agent, agent.report(events=[first]))
        server.time.at += SECOND
        agent.fast += 300_000
        await server.send(agent, agent.report(events=[confirmed(first)]))
        assert [row[2] for row in shown(server)] == ["nvml, kernel log"]

    run(store, story)


@settings(deadline=None, max_examples=15)
@given(confirm=st.lists(st.booleans(), min_size=1, max_size=8), split=st.integers(0, 16))
def test_as_many_events_as_there_were(new_sqlite: NewDatabase, confirm: list[bool], split: int) -> None:
    """However repeats of one XID and their confirmations are spread over reports."""

    async def story(server: Server) -> None:
        agent = server.agent()
        at = agent.clock().wall - SECOND
        firsts = [xid(at + 1000 * number) for number in range(len(confirm))]
        events = [*firsts, *(confirmed(first) for first, is_so in zip(firsts, confirm, strict=True) if is_so)]
        for part in (events[:split], events[split:]):
            server.time.at += SECOND
            await server.send(agent, agent.report(events=part))
        sources = [row[2] for row in shown(server)]
        assert len(sources) == len(confirm)
        assert sources.count("nvml, kernel log") == sum(confirm)

    with contextlib.closing(Store.open(new_sqlite())) as store:
        run(store, story)
