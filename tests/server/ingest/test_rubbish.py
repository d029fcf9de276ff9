"""Whatever is sent: a clear 4xx names what is wrong, nothing is stored, the server lives."""

import contextlib
import resource
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from anyio.from_thread import start_blocking_portal
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store.engine import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.fixtures import ENGINES, NewDatabase
from tests.server.ingest.agents import DAY, SECOND, Agent, Server, Time, fresh_id, serving

Change = Callable[[dict[str, Any]], None]
Refused = Callable[[Callable[[Server], Awaitable[None]]], None]


@pytest.fixture(scope="module", params=ENGINES)
def survives(request: pytest.FixtureRequest) -> Iterator[Refused]:
    """Runs a story on one server for all these tests, which takes a report after each."""
    new: NewDatabase = request.getfixturevalue(f"new_{request.param}")
    with (
        start_blocking_portal() as portal,
        contextlib.closing(Store.open(new())) as store,
        portal.wrap_async_context_manager(serving(store, Time())) as server,
    ):

        async def watched(story: Callable[[Server], Awaitable[None]]) -> None:
            await story(server)
            after = server.agent(node=fresh_id())
            assert (await server.send(after, after.report())).status_code == 200

        yield lambda story: portal.call(watched, story)


@pytest.fixture
def refused(survives: Refused) -> Refused:
    """The same for stories of which nothing may be stored."""

    def unchanged(story: Callable[[Server], Awaitable[None]]) -> None:
        async def watched(server: Server) -> None:
            before = server.counts()
            await story(server)
            assert server.counts() == before

        survives(watched)

    return unchanged


def _raw(agent: Agent, change: Change) -> bytes:
    """A report whose content was changed behind the encoder's back."""
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(agent.report()))
    change(plain)
    return zlib.compress(msgspec.msgpack.encode(plain))


def _set(path: str, value: Any) -> Change:
    def change(report: dict[str, Any]) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = report
        for part in parents:
            place = place[part]
        place[last] = value

    return change


def _wall(path: str, by: int) -> Change:
    return lambda report: _set(path, report["created"]["wall"] + by)(report)


def _event(**fields: Any) -> Change:
    return lambda report: _set("events", [{"at": report["created"]["wall"], "kind": "xid", **fields}])(report)


def _times(*by: int) -> Change:
    def change(report: dict[str, Any]) -> None:
        block = report["samples"][0]
        block["times"] = wire.pack([report["created"]["wall"] + each for each in by], 8)
        block["durations"] = wire.pack([1000] * len(by), 4)
        block["columns"] = {}

    return change


def _twice(report: dict[str, Any]) -> None:
    report["samples"] *= 2


def _state(metric: str, stored: Any, by: int = 0) -> Change:
    return lambda report: _set("states", [[report["created"]["wall"] + by, "GPU-a", metric, stored]])(report)


POWER = "samples.0.columns.power"
CHANGES: dict[str, tuple[Change, int, str]] = {
    "version": (_set("version", 99), 400, "version"),
    "version-type": (_set("version", "one"), 400, "body"),
    "foreign-node": (_set("node", "00000000-0000-4000-8000-00000000000f"), 403, "node"),
    "node-form": (_set("node", "'; DROP TABLE nodes; --"), 422, "node"),
    "seq-zero": (_set("seq", 0), 422, "seq"),
    "seq-huge": (_set("seq", 1 << 63), 422, "seq"),
    "first-after-last": (_set("first_seq", 1 << 61), 422, "first_seq"),
    "interval-negative": (_set("interval", -1), 422, "interval"),
    "interval-nan": (_set("interval", float("nan")), 422, "interval"),
    "driver-state": (_set("driver.state", "splendid"), 422, "driver.state"),
    "driver-since-future": (_wall("driver.since", DAY), 422, "driver.since"),
    "backlog-negative": (_set("backlog.bytes", -5), 422, "backlog.bytes"),
    "no-clock": (lambda report: report.pop("created"), 422, "body"),
    "ancient": (_set("created.wall", 5), 422, "driver.since"),
    "event-future": (_event(at=1 << 61), 422, "events[0].at"),
    "event-old": (_event(at=5), 422, "events[0].at"),
    "event-code": (_event(code=-79), 422, "events[0].code"),
    "event-nan": (_event(detail={"x": float("nan")}), 422, "events[0].detail[...]"),
    "event-infinite": (_event(detail={"x": float("inf")}), 422, "events[0].detail[...]"),
    "event-kind": (_event(kind="a\nb"), 422, "events[0].kind"),
    "event-kind-line": (_event(kind="xid\n"), 422, "events[0].kind"),
    "event-message-nul": (_event(message="a\0b"), 422, "events[0].message"),
    "event-detail-nul": (_event(detail={"x": "a\0b"}), 422, "events[0].detail[...]"),
    "driver-detail-nul": (_set("driver.detail", "a\0b"), 422, "driver.detail"),
    "node-line": (_set("node", "00000000-0000-4000-8000-00000000000a\n"), 422, "node"),
    "sample-future": (_times(DAY), 422, "samples[0].times[0]"),
    "sample-old": (_times(-401 * DAY), 422, "samples[0].times[0]"),
    "times-fall": (_times(-1, -2), 422, "samples[0].times[1]"),
    "times-equal": (_times(-1, -1), 422, "samples[0].times[1]"),
    "times-repeat-in-next-block": (_twice, 422, "samples[1].times[0]"),
    "times-cut": (_set("samples.0.times", b"1234567"), 422, "samples[0].times"),
    "no-times": (_set("samples.0.times", b""), 422, "samples[0].times"),
    "durations-length": (_set("samples.0.durations", b""), 422, "samples[0].durations"),
    "duration-zero": (_set("samples.0.durations", wire.pack([0], 4)), 422, "samples[0].durations[0]"),
    "duration-negative": (_set("samples.0.durations", wire.pack([-1], 4)), 422, "samples[0].durations[0]"),
    "duration-day": (_set("samples.0.durations", wire.pack([86_400_000], 4)), 422, "samples[0].durations[0]"),
    "column-length": (_set(POWER, b"123"), 422, "samples[0].columns.power"),
    "column-type": (_set(POWER, [1.0, float("nan")]), 422, "samples[0].columns[...]"),
    "reason-unknown": (
        _set(POWER, wire.pack([1, BY_NAME["power"].lowest + 9], 4)),
        422,
        "samples[0].columns.power[1]",
    ),
    "size-negative": (_set("samples.0.columns.fb_used", wire.pack([-1, 1], 4)), 422, "samples[0].columns.fb_used[0]"),
    "gpu-twice": (_set("samples.0.gpus", ["GPU-a", "GPU-a"]), 422, "samples[0].gpus"),
    "gpu-empty": (_set("samples.0.gpus", ["", "GPU-a"]), 422, "samples[0].gpus[0]"),
    "gpu-number": (_set("samples.0.gpus", [1, 2]), 422, "samples[0].gpus[0]"),
    "state-every-sample": (_state("power", 1), 422, "states[0].metric"),
    "state-width": (_state("remap_failed", 1 << 40), 422, "states[0].stored"),
    "state-negative": (_state("ecc_sram_corrected", -1), 422, "states[0].stored"),
    "state-float": (_state("ecc_sram_corrected", 0.5), 422, "states[0][3]"),
    "state-future": (_state("ecc_sram_corrected", 1, DAY), 422, "states[0].at"),
    "column-on-change": (_set("samples.0.columns.power_limit", bytes(8)), 422, "samples[0].columns.power_limit"),
    "roster-type": (_set("roster", "all of them"), 422, "roster"),
    "samples-type": (_set("samples", {"a": 1}), 422, "samples"),
}


def _is_problem(answer: httpx.Response, status: int, field: str | None) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem.get("field")) == (status, field), answer.text
    return bool(problem["detail"])


def _is_clear(answer: httpx.Response) -> bool:
    return 400 <= answer.status_code < 500 and bool(answer.json()["detail"])


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrong_report_is_refused_by_name(refused: Refused, name: str) -> None:
    """Each wrong field is named, and the store stays empty."""
    change, status, field = CHANGES[name]

    async def story(server: Server) -> None:
        agent = server.agent()
        assert _is_problem(await server.send_bytes(agent, _raw(agent, change)), status, field)

    refused(story)


def _bomb() -> bytes:
    packer = zlib.compressobj()
    head = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block depends on nothing before it, so it can be repeated as it is.
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + 1023 * megabyte + packer.flush()


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "body"),
    "random": (bytes(range(256)), 400, "body"),
    "not-msgpack": (zlib.compress(b"\xc1" * 100), 400, "body"),
    "json": (zlib.compress(b'{"version": 1}'), 400, "body"),
    "deep": (zlib.compress(b"\x91" * 100_000), 400, "body"),
    "too-large": (bytes(wire.MAX_BODY + 1), 413, "body"),
    "garbage-behind": (zlib.compress(b"\x80") + b"x", 400, "body"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_report_is_refused(refused: Refused, name: str) -> None:
    """Bytes of every other kind get a 4xx and leave nothing."""
    body, status, field = BODIES[name]

    async def story(server: Server) -> None:
        agent = server.agent()
        assert _is_problem(await server.send_bytes(agent, body), status, field)

    refused(story)


def test_a_gigabyte_in_a_small_body_is_refused(refused: Refused) -> None:
    """A body that would decompress to 1 GB is stopped at the bound, and takes no more memory than that."""

    async def story(server: Server) -> None:
        agent, bomb = server.agent(), _bomb()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert _is_problem(await server.send_bytes(agent, bomb), 413, "body")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * wire.MAX_DECODED >> 10

    refused(story)


def test_a_small_body_of_countless_samples_is_refused(refused: Refused) -> None:
    """Times and GPUs multiply, and metrics that are not sent take no room in a body: their number is bounded."""

    async def story(server: Server) -> None:
        agent = server.agent(node=fresh_id(), gpus=tuple(f"GPU-{n}" for n in range(1024)))
        wall, packed = agent.clock().wall, wire.pack([1000] * 3600, 4)
        blocks = [
            wire.Samples(gpus=list(agent.gpus), times=wire.pack(times, 8), durations=packed, columns={})
            for times in ([wall - SECOND * (3600 * block - n) for n in range(3600)] for block in range(64, 0, -1))
        ]
        answer = await server.send(agent, agent.report(samples=blocks))
        assert (answer.status_code, answer.json()["field"]) == (422, "samples")
        assert "235929600 samples" in answer.json()["detail"]

    refused(story)


def test_a_truncated_report_is_refused_wherever_it_is_cut(refused: Refused) -> None:
    """No prefix of a report is a report."""

    async def story(server: Server) -> None:
        agent = server.agent()
        body = wire.encode(agent.report())
        for end in range(0, len(body), 37):
            assert _is_problem(await server.send_bytes(agent, body[:end]), 400, "body")

    refused(story)


HEADERS: dict[str, tuple[dict[str, str], int, str]] = {
    "no-token": ({"authorization": ""}, 401, "authorization"),
    "basic": ({"authorization": "Basic eDp5"}, 401, "authorization"),
    "unknown-token": ({"authorization": "Bearer gpf_node_" + "a" * 43}, 401, "authorization"),
    "huge-token": ({"authorization": "Bearer " + "a" * 60_000}, 401, "authorization"),
    "type": ({"content_type": "application/json"}, 415, "content-type"),
    "no-type": ({"content_type": ""}, 415, "content-type"),
    "encoding": ({"content_encoding": "gzip"}, 415, "content-encoding"),
    "no-encoding": ({"content_encoding": ""}, 415, "content-encoding"),
    "length-text": ({"content_length": "many"}, 400, "content-length"),
    "length-negative": ({"content_length": "-1"}, 400, "content-length"),
    "length-huge": ({"content_length": "9" * 40}, 413, "body"),
    "length-wrong": ({"content_length": "1"}, 400, "content-length"),
    "clock": ({wire.CLOCK_HEADER: "noon"}, 400, wire.CLOCK_HEADER),
    "clock-negative": ({wire.CLOCK_HEADER: "-1 -1 b"}, 400, wire.CLOCK_HEADER),
    "clock-huge": ({wire.CLOCK_HEADER: "9" * 5000 + " 1 b"}, 400, wire.CLOCK_HEADER),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_wrong_header_is_refused_by_name(refused: Refused, name: str) -> None:
    """Headers are checked before the body is looked at."""
    headers, status, field = HEADERS[name]

    async def story(server: Server) -> None:
        agent = server.agent()
        answer = await server.send(agent, agent.report(), **headers)
        assert _is_problem(answer, status, field)
        assert (status == 401) == ("www-authenticate" in answer.headers)

    refused(story)


@pytest.mark.parametrize("kind", [TokenKind.JOIN, TokenKind.READER, TokenKind.ADMIN])
def test_other_tokens_are_no_credentials(refused: Refused, kind: TokenKind) -> None:
    """Not even an admin may speak for a node."""

    async def story(server: Server) -> None:
        agent = server.agent()
        agent.credential = server.token(kind)
        assert _is_problem(await server.send(agent, agent.report()), 403, "authorization")

    refused(story)


def test_a_credential_speaks_for_its_own_node_only(refused: Refused) -> None:
    """The problem names both nodes."""

    async def story(server: Server) -> None:
        agent, other = server.agent(), server.agent(node=fresh_id())
        answer = await server.send(agent, other.report())
        assert _is_problem(answer, 403, "node")
        assert agent.node in answer.text
        assert other.node in answer.text

    refused(story)


def test_the_future_is_refused_by_the_servers_clock(refused: Refused) -> None:
    """Without a clock header the report's own time is believed, and must not lie ahead."""

    async def story(server: Server) -> None:
        agent = server.agent(fast=60 * SECOND)
        answer = await server.send(agent, agent.report(), **{wire.CLOCK_HEADER: ""})
        assert _is_problem(answer, 422, "created.wall")
        assert "60.0 s in the future" in answer.text

    refused(story)


def test_sent_before_it_was_made_is_refused(refused: Refused) -> None:
    """Within one boot the uptime only grows."""

    async def story(server: Server) -> None:
        agent = server.agent()
        early = wire.clock_header(agent.clock())
        server.time.at += SECOND
        answer = await server.send(agent, agent.report(), **{wire.CLOCK_HEADER: early})
        assert _is_problem(answer, 422, wire.CLOCK_HEADER)

    refused(story)


def _mangled(body: bytes) -> st.SearchStrategy[bytes]:
    inner = zlib.decompress(body)
    flip = st.tuples(st.integers(0, len(inner) - 1), st.binary(min_size=1, max_size=4))
    replaced = flip.map(lambda at: zlib.compress(inner[: at[0]] + at[1] + inner[at[0] + len(at[1]) :]))
    return st.binary(max_size=200) | st.binary(max_size=200).map(zlib.compress) | replaced


TEMPLATE = Agent(Time(), node=fresh_id())
BODY = wire.encode(TEMPLATE.report(roster=TEMPLATE.roster()))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_mangled(BODY))
def test_no_bytes_bring_the_server_down(survives: Refused, body: bytes) -> None:
    """Bytes of all kinds, and reports with some bytes changed: never a 5xx, and stored only where acknowledged."""

    async def story(server: Server) -> None:
        agent = server.agent(node=TEMPLATE.node)
        before = server.counts()
        answer = await server.send_bytes(agent, body)
        assert answer.status_code == 200 or _is_clear(answer)
        assert answer.status_code == 200 or server.counts() == before

    survives(story)
