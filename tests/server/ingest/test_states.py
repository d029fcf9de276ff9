"""States are a history: one row for each change, of values and of reasons for absence."""

import contextlib

import anyio
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.store.engine import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server import stored
from tests.server.fixtures import NewDatabase
from tests.server.ingest.agents import SECOND, Agent, Server, Time, run, serving

POWER = BY_NAME["power"]
REMAP = BY_NAME["remap_pending"]
UNSUPPORTED, LOST = POWER.absent(Reason.UNSUPPORTED), POWER.absent(Reason.LOST)


def _history(server: Server, metric: str, gpu: str = "GPU-a") -> list[tuple[int | None, int | None]]:
    statement = (
        "SELECT s.value, s.reason FROM states s JOIN gpus g USING (gpu_id) WHERE g.uuid = '{}' AND metric = '{}'"
    )
    return [tuple(row) for row in server.rows(statement.format(gpu, metric) + " ORDER BY s.ts")]


async def _powers(server: Server, agent: Agent, *stored: int) -> None:
    """A report with these powers of one GPU, a second apart."""
    server.time.at += len(stored) * SECOND
    wall = agent.clock().wall
    times = [wall - n * SECOND for n in reversed(range(len(stored)))]
    answer = await server.send(agent, agent.report(samples=[agent.samples(times, power=stored)]))
    assert answer.status_code == 200, answer.text


def test_why_a_value_is_absent_is_stored_on_change_only(store: Store) -> None:
    """A reason when it begins, another when it changes, none when the value is back; nothing in between."""

    async def story(server: Server) -> None:
        agent = server.agent(gpus=("GPU-a",))
        await _powers(server, agent, 1, UNSUPPORTED, UNSUPPORTED)
        await _powers(server, agent, UNSUPPORTED, LOST, LOST, 5, 6)
        await _powers(server, agent, 7, 8)
        assert _history(server, "power") == [(None, Reason.UNSUPPORTED), (None, Reason.LOST), (None, None)]
        assert server.column("power") == [1, None, None, None, None, None, 5, 6, 7, 8]

    run(store, story)


@settings(deadline=None, max_examples=10)
@given(
    reports=st.lists(st.lists(st.sampled_from([3, UNSUPPORTED, LOST]), min_size=1, max_size=5), min_size=1, max_size=5)
)
def test_each_absence_has_its_reason_across_restarts(new_sqlite: NewDatabase, reports: list[list[int]]) -> None:
    """However samples fall into reports, with a restart between any two: the state in force explains each absence."""

    async def main() -> None:
        time, url = Time(), new_sqlite()
        agent = Agent(time, gpus=("GPU-a",))
        for stored_powers in reports:
            with contextlib.closing(Store.open(url)) as store:
                async with serving(store, time) as server:
                    agent.credential = server.agent().credential
                    await _powers(server, agent, *stored_powers)
                    last = _explained(server)
        assert last == [power for report in reports for power in report]

    anyio.run(main)


def _explained(server: Server) -> list[int]:
    rows = server.rows("SELECT ts, reason FROM states WHERE metric = 'power' ORDER BY ts")
    changes = [row[1] for row in rows]
    assert all(one != other for one, other in zip([None, *changes], changes, strict=False))
    samples = stored.every(server.store)
    in_force = [next((row[1] for row in reversed(rows) if row[0] <= sample.ts), None) for sample in samples]
    assert [sample.reasons.get("power") for sample in samples] == in_force
    return [sample.stored["power"] for sample in samples]


def test_a_metric_that_does_not_come_was_not_observed(store: Store) -> None:
    """A column that an agent leaves out is NULL with a reason too."""

    async def story(server: Server) -> None:
        agent = server.agent(gpus=("GPU-a",))
        samples = agent.samples([agent.clock().wall])
        del samples.columns["power"]
        await server.send(agent, agent.report(samples=[samples]))
        assert server.column("power") == [None]
        assert _history(server, "power") == [(None, Reason.NOT_OBSERVED)]

    run(store, story)


def test_gpus_side_by_side_have_their_own_reasons(store: Store) -> None:
    """What one GPU lacks says nothing of the one beside it."""

    async def story(server: Server) -> None:
        agent = server.agent()
        samples = agent.samples([agent.clock().wall], power=[0, UNSUPPORTED])
        await server.send(agent, agent.report(samples=[samples]))
        assert _history(server, "power", "GPU-a") == []
        assert _history(server, "power", "GPU-b") == [(None, Reason.UNSUPPORTED)]
        assert server.column("power") == [0, None]

    run(store, story)


async def _states(server: Server, agent: Agent, *stored: int, back: int = 0) -> None:
    server.time.at += SECOND
    wall = agent.clock().wall
    states = [wire.State(wall - back + number, "GPU-a", "remap_pending", each) for number, each in enumerate(stored)]
    answer = await server.send(agent, agent.report(states=states))
    assert answer.status_code == 200, answer.text


def test_a_value_that_is_known_is_not_stored_again(store: Store) -> None:
    """An agent that restarts sends all it knows; only what is different becomes a row."""

    async def story(server: Server) -> None:
        agent = server.agent()
        for told in (0, 0, 1, 1, REMAP.absent(Reason.FAILED), REMAP.absent(Reason.FAILED), 1):
            await _states(server, agent, told)
        assert _history(server, "remap_pending") == [(0, None), (1, None), (None, Reason.FAILED), (1, None)]

    run(store, story)


def test_known_values_survive_a_restart_of_the_server(store: Store) -> None:
    """What the writer remembers is what the table says."""
    time = Time()

    async def story(server: Server) -> None:
        agent = server.agent(stream=f"00000000-0000-4000-8000-{time.at % 10**12:012d}")
        for told in (7, 8, 8, REMAP.absent(Reason.LOST)):
            await _states(server, agent, told % 2 if told > 0 else told)
        await _states(server, agent, REMAP.absent(Reason.LOST))

    run(store, story, time)
    run(store, story, time)

    async def look(server: Server) -> None:
        assert _history(server, "remap_pending") == 2 * [(1, None), (0, None), (None, Reason.LOST)]

    run(store, look, time)


def test_what_is_newer_stays_newer_when_a_clock_is_corrected_backwards(store: Store) -> None:
    """The last value told is the current one, even if its corrected time is a little before the one before."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await _states(server, agent, 0)
        await _states(server, agent, 1, back=2 * SECOND)
        assert _history(server, "remap_pending") == [(0, None), (1, None)]

    run(store, story)


def test_unknown_metrics_are_counted_and_do_no_harm(store: Store) -> None:
    """A newer agent may send what this server does not know yet."""

    async def story(server: Server) -> None:
        agent = server.agent()
        samples = agent.samples([agent.clock().wall])
        samples.columns["flux"] = b"of a width nobody here knows"
        states = [wire.State(agent.clock().wall, "GPU-a", "mood", 1)]
        answer = await server.send(agent, agent.report(samples=[samples], states=states))
        assert answer.status_code == 200
        assert server.counts() | {"samples": 2, "states": 0} == server.counts()
        assert server.statistics.unknown_metrics == {"flux": 1, "mood": 1}

    run(store, story)
