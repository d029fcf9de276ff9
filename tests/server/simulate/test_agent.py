"""Simulated agents against a real server, and against one that answers as the test likes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import msgspec
import numpy as np
import pytest
from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric
from gpufleet_agent.wire import ENROL_PATH, Ack, Credential, decode
from gpufleet_server.app import create_app
from gpufleet_server.cli import hosting
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.agent import Sent, now
from gpufleet_server.simulate.fleet import Fleet
from gpufleet_server.simulate.identity import gpu_uuid
from gpufleet_server.simulate.plan import SimNode, fleet, fleet_of, single_node
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.ports import free_port
from tests.server import stored


@asynccontextmanager
async def served(app: Starlette, port: int = 0) -> AsyncIterator[str]:
    """The app on a port, else on a free one; its URL."""
    with closing(hosting.listen("127.0.0.1", port)) as listening:
        async with hosting.serving(hosting.configured(app), listening, asyncio.Event()):
            yield hosting.url_of(listening)


def join_token(store: Store) -> str:
    """A token with which agents join."""
    with store.writing() as connection:
        return tokens.create(connection, TokenKind.JOIN, "test")[1]


def held(store: Store) -> dict[tuple[str, int, str], int | None]:
    """(GPU, time, metric) → stored integer, None where absent."""
    return {(gpu, at, name): each for (gpu, at), row in stored.samples(store).items() for name, each in row.items()}


def truth(node: SimNode, times: list[int], interval: int) -> dict[tuple[str, int, str], int | None]:
    """The same from the model."""

    def kept(metric: Metric, integer: int) -> int | None:
        return None if metric.reason(integer) is not None else integer

    columns = physics.samples(node, np.array(times), np.full(len(times), interval))
    return {
        (gpu_uuid(node, index), at, metric.name): kept(metric, int(columns[metric.name][row, index]))
        for row, at in enumerate(times)
        for index in range(node.count)
        for metric in EVERY_SAMPLE
    }


def assert_in_order(committed: list[Sent]) -> None:
    """Each report of one agent once, alone or in one that is joined."""
    numbers = [number for sent in committed for number in range(sent.seq - sent.reports + 1, sent.seq + 1)]
    assert numbers == list(range(1, len(numbers) + 1))
    for sent in committed:
        report = decode(sent.body)
        assert (report.first, report.seq) == (sent.seq - sent.reports + 1, sent.seq)


def test_what_is_stored_is_what_the_model_says(store: Store) -> None:
    """Nodes of several models report to a real server: what is stored is the model's values, and nothing else."""
    nodes = fleet(3, 32, now(), faults=False)
    committed: list[Sent] = []

    async def main() -> None:
        enough = asyncio.Event()

        def take(sent: Sent, _: Ack) -> None:
            committed.append(sent)
            if len(committed) > 20 and len({one.node for one in committed}) == len(nodes):
                enough.set()

        async with served(create_app(store)) as url, asyncio.timeout(60):
            it = Fleet(nodes, url, join_token(store), interval=200, every=400, committed=take)
            running = asyncio.create_task(it.run())
            await enough.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await it.flush()
            assert it.tally().waiting == 0

    asyncio.run(main())
    expected: dict[tuple[str, int, str], int | None] = {}
    for node in nodes:
        blocks = [block for sent in committed if sent.node == node.id for block in decode(sent.body).samples]
        expected |= truth(node, np.concatenate([np.frombuffer(b.times, "<i8") for b in blocks]).tolist(), 200)
    assert held(store) == expected


def test_a_server_that_was_away_gets_all_of_it_once(store: Store) -> None:
    """What was sampled while the server was down is there after it is back, in order and without a gap."""
    committed: list[Sent] = []

    async def main() -> None:
        port = free_port()
        url, nodes = f"http://127.0.0.1:{port}", [single_node(3, 8, "n")]
        it = Fleet(
            nodes, url, join_token(store), interval=100, every=100, committed=lambda sent, _: committed.append(sent)
        )
        running = asyncio.create_task(it.run())
        end = time.monotonic() + 60
        while it.tally().waiting < 5:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        assert committed == []
        async with served(create_app(store), port):
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await it.flush()
        assert it.tally().waiting == 0

    asyncio.run(main())
    assert_in_order(committed)
    times = sorted({at for _, at, _ in held(store)})
    assert len(times) >= 5
    assert set(np.diff(times)) == {100_000}


def test_a_backlog_is_sent_first_and_in_order(store: Store) -> None:
    """Agents that were offline begin with what they could not send; nothing of it is missing and nothing twice."""
    nodes = fleet_of(3, 4, 8, now(), faults=False)
    committed: list[Sent] = []

    async def main() -> None:
        async with served(create_app(store)) as url, asyncio.timeout(60):
            it = Fleet(
                nodes, url, join_token(store), interval=1000, every=2000, spread=0.2, offline=0.6, backlog=120,
                committed=lambda sent, _: committed.append(sent),
            )  # fmt: skip
            await it.flush(grace=15)
            assert it.tally().waiting == 0
            assert it.tally().samples == sum(sent.samples for sent in committed)

    asyncio.run(main())
    told = {node.id: [sent for sent in committed if sent.node == node.id] for node in nodes}
    assert {sent[-1].seq > 60 for sent in told.values()} == {True, False}
    assert {max(one.reports for one in sent) for sent in told.values()} >= {1, 32}
    for sent in told.values():
        assert_in_order(sent)
        blocks = [block for one in sent for block in decode(one.body).samples]
        times = np.concatenate([np.frombuffer(block.times, "<i8") for block in blocks])
        assert set(np.diff(times)) == {1_000_000}


class Moody:
    """A server that answers reports by a list of statuses, then with 200; it keeps what it was sent."""

    def __init__(self, *statuses: int, joins: bool = False) -> None:
        self.statuses, self.joins = list(statuses), joins
        self.seqs: list[int] = []
        self.firsts: list[int] = []
        self.enrolled = 0

    def app(self) -> Starlette:
        """The server."""
        return Starlette(
            routes=[
                Route(ENROL_PATH, self.enrol, methods=["POST"]),
                Route("/{path:path}", self.report, methods=["POST"]),
            ]
        )

    async def enrol(self, request: Request) -> Response:
        """A new credential each time."""
        self.enrolled += 1
        asked = await request.json()
        credential = Credential(node=asked["node"], credential=f"credential {self.enrolled}")
        return Response(msgspec.json.encode(credential), 201)

    async def report(self, request: Request) -> Response:
        """The next status of the list."""
        report = decode(await request.body())
        seq = report.seq
        self.seqs.append(seq)
        self.firsts.append(report.first)
        status = self.statuses.pop(0) if self.statuses else 200
        ack = Ack(seq=seq, duplicate=False, roster_wanted=True, clock_offset=0, server_time=now())
        ack.joins = self.joins
        return Response(msgspec.json.encode(ack) if status == 200 else b"no", status, {"retry-after": "0"})


def delivered(moody: Moody, reports: int) -> tuple[list[Sent], int]:
    """Make reports and send them until none waits: what was committed, and how many were dropped in the end."""
    committed: list[Sent] = []

    async def main() -> int:
        async with served(moody.app()) as url:
            it = Fleet(
                [single_node(3, 2, "n")], url, "join", interval=100, every=100, spread=0, offline=1,
                backlog=0.1 * (reports - 1), pauses=(0.01, 0.1), committed=lambda sent, _: committed.append(sent),
            )  # fmt: skip
            await it.flush(grace=5)
            dropped = it.tally().dropped
            await it.flush(grace=5)
        assert decode(committed[-1].body).backlog.dropped == dropped
        return dropped

    return committed, asyncio.run(main())


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_tried_again(status: int) -> None:
    """The same report is sent again, in order, and nothing is dropped."""
    moody = Moody(200, status)
    committed, dropped = delivered(moody, 3)
    assert moody.seqs == [1, 2, 2, 3, 4]
    assert [sent.seq for sent in committed] == [1, 2, 3, 4]
    assert (moody.enrolled, dropped) == (1, 0)


def test_a_credential_that_is_refused_is_replaced() -> None:
    """The agent enrols once more and sends the same report."""
    moody = Moody(200, 401)
    committed, dropped = delivered(moody, 2)
    assert moody.seqs == [1, 2, 2, 3]
    assert len(committed) == 3
    assert (moody.enrolled, dropped) == (2, 0)


def test_a_report_that_is_refused_holds_up_no_other() -> None:
    """It is dropped, and the next report says so."""
    moody = Moody(422)
    committed, dropped = delivered(moody, 2)
    assert [sent.seq for sent in committed] == [2, 3]
    assert dropped == 1


def test_a_joined_report_without_an_answer_is_sent_again_as_it_was() -> None:
    """The server may have it: three go alone, then eight as one, and after trouble the same eight."""
    moody = Moody(200, 200, 200, 503, joins=True)
    committed, dropped = delivered(moody, 20)
    assert moody.firsts[:6] == [1, 2, 3, 4, 4, 12]
    assert moody.seqs[:6] == [1, 2, 3, 11, 11, 12]
    assert_in_order(committed)
    assert dropped == 0


def test_a_joined_report_that_is_refused_goes_one_by_one() -> None:
    """Nothing is dropped for what may be wrong with another one."""
    moody = Moody(200, 200, 200, 422, joins=True)
    committed, dropped = delivered(moody, 20)
    assert moody.seqs[:6] == [1, 2, 3, 11, 4, 5]
    assert_in_order(committed)
    assert dropped == 0
