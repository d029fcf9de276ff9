"""Joined reports: what is stored of them is what would have been stored of each, once, however they are grouped."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import anyio
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_agent.runtime.clock import boot_id
from gpufleet_agent.runtime.joining import Joined
from gpufleet_server.store.engine import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server import stored
from tests.server.fixtures import NewDatabase
from tests.server.ingest.agents import SECOND, Agent, Server, Time, run, serving

POWER = BY_NAME["power"]
_POWERS = [200, 300, POWER.absent(Reason.UNSUPPORTED), POWER.absent(Reason.LOST)]


@dataclasses.dataclass(frozen=True)
class Told:
    """What one report of a history tells, beside the driver's state."""

    gpus: tuple[str, ...]
    powers: tuple[int, ...]
    remap: int | None
    xid: int | None
    hung: bool
    roster: bool


_TOLD = st.builds(
    Told,
    gpus=st.sampled_from([("GPU-a", "GPU-b"), ("GPU-a", "GPU-b"), ("GPU-b",)]),
    powers=st.lists(st.sampled_from(_POWERS), max_size=3).map(tuple),
    remap=st.none() | st.sampled_from([0, 1]),
    xid=st.none() | st.sampled_from([31, 79]),
    hung=st.sampled_from([False, False, False, True]),
    roster=st.sampled_from([False, False, False, False, True]),
)
_LOOKS = {
    "states": "SELECT g.uuid, s.metric, s.ts, s.value, s.reason FROM states s JOIN gpus g USING (gpu_id)",
    "events": "SELECT g.uuid, e.ts, e.kind, e.code, e.message, e.source FROM events e LEFT JOIN gpus g USING (gpu_id)",
    "nodes": "SELECT driver_state, driver_since, clock_offset, backlog_reports, roster_digest, interval_ms FROM nodes",
    "gpus": "SELECT uuid, slot, first_seen, model FROM gpus",
    "streams": "SELECT stream, last_seq FROM streams",
    "latest": "SELECT * FROM latest",
    "fleet_minutes": "SELECT * FROM fleet_groups JOIN fleet_minutes USING (group_id)",
}


def _reports(agent: Agent, history: list[Told]) -> Iterator[wire.Report]:
    """The history as an agent tells it, a report each 10 s."""
    began = agent.clock().wall
    for number, told in enumerate(history):
        # Every agent begins with its roster.
        with_roster = told.roster or number == 0
        agent.time.at += 10 * SECOND
        sampler, created, count = dataclasses.replace(agent, gpus=told.gpus), _clock(agent), len(told.powers)
        wall, powers = created.wall, [power for power in told.powers for _ in told.gpus]
        times = [wall - n * SECOND for n in reversed(range(count))]
        yield agent.report(
            created=created,
            driver=wire.Driver(state="unresponsive" if told.hung else "ok", since=began),
            backlog=wire.Backlog(reports=number),
            samples=[sampler.samples(times, power=powers)] if count else [],
            states=[wire.State(wall, told.gpus[0], "remap_pending", told.remap)] if told.remap is not None else [],
            events=[wire.Event(at=wall, kind="xid", code=told.xid, gpu="GPU-a")] if told.xid is not None else [],
            roster=agent.roster() if with_roster else None,
            roster_digest=wire.digest(agent.roster()),
        )


def _clock(agent: Agent) -> wire.Clock:
    """Its clocks, of the boot that is also the code's under test."""
    return wire.Clock(wall=agent.clock().wall, uptime=agent.clock().uptime, boot=boot_id())


def _grouped(reports: list[wire.Report], sizes: list[int]) -> Iterator[wire.Report]:
    """The first three alone, as an agent sends them; then as many at once as these sizes say, and as can be."""
    waiting, wanted = list(reports), itertools.chain([1, 1, 1], itertools.cycle(sizes))
    while waiting:
        joined, count = Joined(waiting[0]), 1
        most = next(wanted)
        while count < min(most, len(waiting)) and joined.add(waiting[count]):
            count += 1
        yield joined.report() if count > 1 else waiting[0]
        del waiting[:count]


def _all(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: sorted(map(repr, map(tuple, server.rows(statement)))) for name, statement in _LOOKS.items()
    }
    return found | {"samples": stored.every(server.store)}


@settings(deadline=None, max_examples=15)
@given(
    history=st.lists(_TOLD, min_size=6, max_size=20),
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    fast=st.sampled_from([0, 30 * SECOND, -7 * SECOND, -90 * SECOND]),
)
def test_what_is_stored_does_not_depend_on_the_grouping(
    new_sqlite: NewDatabase, history: list[Told], sizes: list[int], fast: int
) -> None:
    """Samples, states, events, the node, the newest values and the fleet's minutes: as of single reports."""
    found = []

    async def main(sizes: list[int]) -> None:
        time = Time()
        agent = Agent(time, fast=fast)
        reports = list(_reports(agent, history))
        time.at += 60 * SECOND
        with contextlib.closing(Store.open(new_sqlite())) as store:
            async with serving(store, time) as server:
                agent.credential = server.agent(node=agent.node).credential
                for report in _grouped(reports, sizes):
                    sent = wire.clock_header(_clock(agent))
                    answer = await server.send(agent, report, **{wire.CLOCK_HEADER: sent})
                    assert answer.status_code == 200, answer.text
                    assert answer.json()["joins"]
                found.append(_all(server))

    anyio.run(main, [1])
    anyio.run(main, sizes)
    assert found[0] == found[1]


@settings(deadline=None, max_examples=20)
@given(steps=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=12), restart=st.booleans())
def test_a_request_that_was_given_up_may_come_late(
    new_sqlite: NewDatabase, steps: list[tuple[int, int]], restart: bool
) -> None:
    """Sent alone, joined, again, in other groups: all of it is taken, or none; and the agent hears what is there."""

    async def main() -> None:
        time, last = Time(), 0
        agent = Agent(time, gpus=("GPU-a",))
        reports = []
        for _ in range(80):
            time.at += SECOND
            reports.append(agent.report(created=_clock(agent), driver=wire.Driver(state="ok", since=1)))
        with contextlib.closing(Store.open(new_sqlite())) as store:
            for part in (steps[: len(steps) // 2], steps[len(steps) // 2 :]) if restart else (steps,):
                async with serving(store, time) as server:
                    agent.credential = server.agent(node=agent.node).credential
                    for back, count in part:
                        first = max(0, last - back)
                        last = await _send(server, agent, reports[first : first + count], last)
                        assert server.counts()["samples"] == last

    anyio.run(main)


async def _send(server: Server, agent: Agent, reports: list[wire.Report], last: int) -> int:
    """Send them as one; what the server must have then."""
    (report,) = _one(reports)
    answer = await server.send(agent, report, **{wire.CLOCK_HEADER: ""})
    if report.seq <= last:
        assert answer.json()["duplicate"]
    elif report.first <= last:
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["last_seq"], answer.json()["field"]) == (last, "first_seq")
    else:
        assert not answer.json()["duplicate"]
        return report.seq
    return last


def _one(reports: list[wire.Report]) -> list[wire.Report]:
    joined = Joined(reports[0])
    assert all(joined.add(report) for report in reports[1:])
    return [joined.report()] if len(reports) > 1 else reports


def test_samples_of_joined_reports_lie_in_few_blocks(store: Store) -> None:
    """An hour of one GPU is one block on the wire, and less in the store than a row a report."""

    async def story(server: Server) -> None:
        agent = server.agent(gpus=("GPU-a",))
        history = [Told(("GPU-a",), (200,), None, None, False, False)] * 361
        (report,) = _one(list(_reports(agent, history))[1:])
        assert [len(block.times) // 8 for block in report.samples] == [360]
        assert (await server.send(agent, report, **{wire.CLOCK_HEADER: ""})).status_code == 200
        assert server.counts()["samples"] == 360
        assert server.rows("SELECT count(*) FROM recent")[0][0] < 40

    run(store, story)
