"""What an agent asks: take this report, give me a credential, and renew the one I have."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence

import msgspec
from gpufleet_agent import wire
from starlette.types import ASGIApp, Receive, Scope, Send

from gpufleet_server.domain import clock
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.tokens import TokenKind, bearer
from gpufleet_server.ingest.failures import STORE_FAILED, cause, unavailable
from gpufleet_server.ingest.prepare import Prepared, prepare
from gpufleet_server.ingest.request import (
    JSON_HEAD,
    Desk,
    Head,
    answer_json,
    answer_problem,
    authenticated,
    check_node,
    check_type,
    headers,
    problem_head,
    read_body,
    understood,
)
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.together import Together
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tokens import TokenRow, give_credentials, renew_credentials

# Larger bodies are decoded beside the event loop, a few at a time: each may grow to wire.MAX_DECODED.
_SMALL_BODY = 16 << 10
_LARGE_AT_ONCE = 2
_MAX_ENROLMENT = 16 << 10

_to_json = msgspec.json.Encoder()
_TYPE, _ENCODING = wire.CONTENT_TYPE.encode(), wire.ENCODING.encode()

Answer = Callable[[int, Head, bytes], None]


class Reports:
    """ASGI: `POST wire.REPORT_PATH` with a node's credential. Answers once the report is committed."""

    def __init__(
        self,
        desk: Desk,
        writer: Writer,
        statistics: Statistics,
        now: Callable[[], int] = clock.now,
        renew_after: int = 0,
    ) -> None:
        """Agents whose credential is older than `renew_after` µs are asked to renew it; none where that is 0."""
        self._desk, self._writer, self._statistics, self._now = desk, writer, statistics, now
        self._renew_after = renew_after
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one report, or tell the Problem for which it is not taken."""
        try:
            ack = await self._take(scope, receive)
        except Problem as problem:
            self._statistics.refuse(problem.status)
            await answer_problem(send, problem)
            return
        self._statistics.reports["duplicate" if ack.duplicate else "stored"] += 1
        await answer_json(send, 200, _to_json.encode(ack))

    def take(self, given: Mapping[bytes, bytes], body: bytes, answer: Answer) -> bool:
        """Take a report whose body is there, from the event loop and without a task for it.

        `given` are the headers, names in lower case. `answer` is called later, or at once, with the answer: status,
        headers, body. False where the report has to come through `__call__`: it is large, or its token is yet to be
        looked up.
        """
        try:
            if (closed := self._writer.closed) is not None:
                raise unavailable(closed)
            text = bearer(given.get(b"authorization", b"").decode("latin-1"))
            token = self._desk.peek(text) if text is not None else None
            if token is None or token.kind is not TokenKind.NODE or len(body) > _SMALL_BODY:
                return False
            if given.get(b"content-type") != _TYPE or given.get(b"content-encoding") != _ENCODING:
                return False
            clock_told = given.get(wire.CLOCK_HEADER.encode())
            sent = _sent(clock_told.decode("latin-1")) if clock_told is not None else None
            self._statistics.body_bytes += len(body)
            now = self._now()
            reply = Reply(self, answer, self._is_old(token))
            self._writer.put(prepare(body, sent, token.node, token.name or str(token.node), now), reply)
        except Problem as problem:
            self.refuse(problem, answer)
        return True

    def acknowledge(self, ack: wire.Ack, answer: Answer) -> None:
        """Tell an agent that its report is committed."""
        self._statistics.reports["duplicate" if ack.duplicate else "stored"] += 1
        answer(200, JSON_HEAD, _to_json.encode(ack))

    def refuse(self, problem: Problem, answer: Answer) -> None:
        """Tell an agent why its report is not taken."""
        self._statistics.refuse(problem.status)
        answer(problem.status, problem_head(problem), _to_json.encode(problem.body()))

    async def _take(self, scope: Scope, receive: Receive) -> wire.Ack:
        if (closed := self._writer.closed) is not None:
            raise unavailable(closed)
        given = headers(scope)
        try:
            token = await authenticated(self._desk, given, TokenKind.NODE)
        except STORE_FAILED as error:
            self._writer.doubt(f"the database does not answer: {cause(error)}")
            raise unavailable("the database does not answer; nothing was stored") from None
        check_type(given, wire.CONTENT_TYPE, wire.ENCODING)
        sent = _sent(given.get(wire.CLOCK_HEADER))
        body = await read_body(given, receive, wire.MAX_BODY)
        self._statistics.body_bytes += len(body)
        prepared = await self._prepare(body, sent, token)
        ack = await self._writer.submit(prepared)
        return msgspec.structs.replace(ack, renew=self._is_old(token))

    def _is_old(self, token: TokenRow) -> bool:
        return bool(self._renew_after) and self._now() - token.created_at > self._renew_after

    async def _prepare(self, body: bytes, sent: wire.Clock | None, token: TokenRow) -> Prepared:
        work = functools.partial(prepare, body, sent, token.node, token.name or str(token.node), self._now())
        if len(body) <= _SMALL_BODY:
            return work()
        async with self._large:
            return await asyncio.to_thread(work)


class Reply:
    """The answer to a report that was taken without a task: goes out as soon as the writer has it."""

    __slots__ = ("_answer", "_loop", "_renew", "_reports")

    def __init__(self, reports: Reports, answer: Answer, renew: bool) -> None:
        self._reports, self._answer, self._loop = reports, answer, asyncio.get_running_loop()
        self._renew = renew

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which the answer is to be given."""
        return self._loop

    def done(self) -> bool:
        """It is not given twice."""
        return False

    def cancelled(self) -> bool:
        """Nobody takes back what was submitted: whoever is gone sends it again."""
        return False

    def set_result(self, ack: wire.Ack) -> None:
        """It is committed."""
        told = msgspec.structs.replace(ack, renew=True) if self._renew else ack
        self._reports.acknowledge(told, self._answer)

    def set_exception(self, problem: Problem) -> None:
        """It is not taken."""
        self._reports.refuse(problem, self._answer)


class Direct:
    """ASGI: brings reports straight to their endpoint; at thousands a second the way over all routes counts."""

    def __init__(self, app: ASGIApp, reports: Reports) -> None:
        self._app, self._reports = app, reports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a report, or have the app answer anything else."""
        is_report = scope["type"] == "http" and scope["path"] == wire.REPORT_PATH and scope["method"] == "POST"
        await (self._reports if is_report else self._app)(scope, receive, send)


class Credentials:
    """ASGI: gives credentials, to who shows a token of the right kind."""

    def __init__(
        self,
        kind: TokenKind,
        give: Callable[..., Sequence[str]],
        store: Store,
        desk: Desk,
        statistics: Statistics,
        now: Callable[[], int] = clock.now,
    ) -> None:
        """`give` makes the credentials: of a connection, nodes with their names, and `now`."""
        self._kind, self._give = kind, give
        self._store, self._desk, self._statistics, self._now = store, desk, statistics, now
        self._together: Together[wire.Enrolment, wire.Credential] = Together(self._give_all)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give one credential. Problem where it is not given."""
        given = headers(scope)
        try:
            token = await authenticated(self._desk, given, self._kind)
        except STORE_FAILED:
            raise unavailable("the database does not answer; nothing was stored") from None
        check_type(given, "application/json")
        body = await read_body(given, receive, _MAX_ENROLMENT)
        with understood():
            enrolment = wire.decode_enrolment(body)
        if token.node is not None:
            check_node(token.node, enrolment.node)
        credential = await self._together(enrolment)
        self._statistics.enrolments += self._kind is TokenKind.JOIN
        self._statistics.renewals += self._kind is TokenKind.NODE
        await answer_json(send, 201, _to_json.encode(credential))

    def _give_all(self, enrolments: Sequence[wire.Enrolment]) -> Sequence[wire.Credential | Problem]:
        wanted = [(each.node, each.hostname) for each in enrolments]
        try:
            with self._store.writing() as connection:
                texts = self._give(connection, wanted, now=self._now())
        except STORE_FAILED:
            return [unavailable("the store is busy or full; nothing was stored")] * len(enrolments)
        return [wire.Credential(node=node, credential=text) for (node, _), text in zip(wanted, texts, strict=True)]


# With a join token: a node has one credential, and a new one ends those before at once.
Enrolments = functools.partial(Credentials, TokenKind.JOIN, give_credentials)
# With the credential a node has: that is good until the new one is used.
Renewals = functools.partial(Credentials, TokenKind.NODE, renew_credentials)


def _sent(header: str | None) -> wire.Clock | None:
    with understood():
        return wire.parse_clock(header) if header is not None else None
