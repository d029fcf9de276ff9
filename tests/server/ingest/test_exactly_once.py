"""Whatever is sent twice, lost on its way or cut off by a restart: each sample is there once."""

import contextlib

import anyio
from gpufleet_agent import wire
from gpufleet_server.store.engine import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.fixtures import NewDatabase
from tests.server.ingest.agents import SECOND, Agent, Server, Time, fresh_id, run, serving

_STEPS = st.lists(st.sampled_from(["next", "again", "restart", "next from the other"]), min_size=1, max_size=12)


@settings(deadline=None, max_examples=20)
@given(steps=_STEPS)
def test_each_sample_is_stored_once(new_sqlite: NewDatabase, steps: list[str]) -> None:
    """Any order of sends, resends and restarts of the server, from two nodes with a GPU of the same UUID."""
    anyio.run(_replay, new_sqlite(), steps)


async def _replay(url: str, steps: list[str]) -> None:
    time = Time()
    agents = [Agent(time), Agent(time, node=fresh_id())]
    bodies: list[tuple[Agent, bytes]] = []
    while steps:
        with contextlib.closing(Store.open(url)) as store:
            async with serving(store, time) as server:
                for agent in agents:
                    agent.credential = server.agent(node=agent.node).credential
                steps = await _steps(server, agents, bodies, steps)
                assert server.counts()["samples"] == 2 * len(bodies)
                assert server.rows("SELECT count(*) FROM events WHERE kind = 'xid'")[0][0] == len(bodies)


async def _steps(server: Server, agents: list[Agent], bodies: list[tuple[Agent, bytes]], steps: list[str]) -> list[str]:
    """Do the steps up to a restart; what is left to do."""
    for number, step in enumerate(steps):
        if step == "restart":
            return steps[number + 1 :]
        if step == "again":
            for agent, body in bodies:
                assert (await server.send_bytes(agent, body)).json()["duplicate"]
            continue
        server.time.at += SECOND
        agent = agents[step != "next"]
        event = wire.Event(at=agent.clock().wall, kind="xid", code=79, gpu="GPU-a")
        bodies.append((agent, wire.encode(agent.report(events=[event]))))
        assert not (await server.send_bytes(*bodies[-1])).json()["duplicate"]
    return []


def test_a_resend_while_the_first_is_being_written_is_a_duplicate(store: Store) -> None:
    """An impatient agent's second request is answered by the first one's commit."""

    async def story(server: Server) -> None:
        agent = server.agent()
        body, answers = wire.encode(agent.report()), []

        async def send() -> None:
            answers.append((await server.send_bytes(agent, body)).json()["duplicate"])

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(send)
        assert sorted(answers) == [False, True, True, True, True]
        assert server.counts()["samples"] == 2

    run(store, story)


def test_a_new_stream_begins_anew(store: Store) -> None:
    """An agent that lost its spool counts from 1 again and is not taken for a repeat."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for stream in (agent.stream, fresh_id()):
            server.time.at += SECOND
            answer = await server.send(agent, agent.report(stream=stream, seq=1))
            assert not answer.json()["duplicate"]
        assert server.counts() | {"samples": 4, "streams": 2} == server.counts()

    run(store, story)


def test_what_is_refused_does_not_use_up_its_number(store: Store) -> None:
    """A report that was refused can be mended and sent under the same number."""

    async def story(server: Server) -> None:
        agent = server.agent()
        early = agent.report(seq=1, driver=wire.Driver(state="ok", since=1 << 60))
        assert (await server.send(agent, early)).status_code == 422
        assert (await server.send(agent, agent.report(seq=1))).status_code == 200

    run(store, story)
