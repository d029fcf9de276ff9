"""Reading a request with every size bounded, and answering it, without a framework in between."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from gpufleet_agent import wire
from starlette.types import Message, Receive, Scope, Send

from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.tokens import TokenKind, bearer
from gpufleet_server.ingest.together import Together
from gpufleet_server.store.tokens import TokenCache, TokenRow

BODY_SECONDS = 60

Head = Sequence[tuple[bytes, bytes]]
JSON_HEAD: Head = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


def headers(scope: Scope) -> dict[str, str]:
    """The headers of a request, names in lower case."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


class Desk:
    """Whose tokens are good: from memory, else looked up for many requests at once."""

    def __init__(self, tokens: TokenCache) -> None:
        self.peek = tokens.peek
        self.check: Together[str, TokenRow | None] = Together(tokens.check_all)


async def authenticated(desk: Desk, given: Mapping[str, str], kind: TokenKind) -> TokenRow:
    """The token of a request. Problem 401 where there is no good one, 403 where it is of another kind."""
    text = bearer(given.get("authorization"))
    if text is None:
        raise _unauthenticated("an Authorization header with a bearer token is needed")
    row = desk.peek(text) or await desk.check(text)
    if row is None:
        raise _unauthenticated("this token is unknown, revoked or expired")
    if row.kind is not kind:
        raise Problem(403, f"a {kind} token is needed; this is a {row.kind} token", "authorization")
    return row


def check_node(spoken_for: str | None, node: str) -> None:
    """Problem 403 where a credential does not speak for this node."""
    if spoken_for != node:
        raise Problem(403, f"this credential speaks for node {spoken_for}, not for {node}", "node")


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Tell what the wire can't make sense of as a Problem."""
    try:
        yield
    except wire.WireError as error:
        raise Problem(error.status, error.problem, error.field) from None


def check_type(given: Mapping[str, str], expected: str, encoding: str | None = None) -> None:
    """Problem 415 where the body is said to be something else, or is coded otherwise than by `encoding`."""
    content_type = given.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != expected:
        raise Problem(415, f"{content_type[:80]!r} is not taken here; send {expected}", "content-type")
    coding = given.get("content-encoding", "").strip().lower() or None
    if coding != encoding:
        problem = f"{coding!r} is not taken here; send {encoding or 'the body as it is'}"[:200]
        raise Problem(415, problem, "content-encoding", headers={"accept-encoding": encoding or "identity"})


async def read_body(given: Mapping[str, str], receive: Receive, most: int) -> bytes:
    """The body, never more than `most` bytes of it in memory. Problem 400, 408 or 413."""
    declared = given.get("content-length")
    if declared is not None and not (declared.isascii() and declared.isdigit()):
        raise Problem(400, f"{declared[:80]!r} is no number of bytes", "content-length")
    if declared is not None and (len(declared) > 18 or int(declared) > most):
        raise _too_large(most)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _receive_all(receive, most)
    except TimeoutError:
        raise Problem(408, f"the body did not come within {BODY_SECONDS} s", "body") from None
    if declared is not None and len(body) != int(declared):
        raise Problem(400, f"{len(body)} bytes came; {declared} were announced", "content-length")
    return body


def problem_head(problem: Problem) -> Head:
    """The headers of an answer that tells a Problem."""
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in problem.all_headers().items()]


async def answer_json(send: Send, status: int, body: bytes) -> None:
    """Send a JSON answer."""
    await _answer(send, status, JSON_HEAD, body)


async def answer_problem(send: Send, problem: Problem) -> None:
    """Send what is wrong with a request."""
    await _answer(send, problem.status, problem_head(problem), msgspec.json.encode(problem.body()))


async def _answer(send: Send, status: int, head: Head, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*head, length]})
    await send({"type": "http.response.body", "body": body})


async def _receive_all(receive: Receive, most: int) -> bytes:
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the connection ended before the body did", "body")
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size, more = size + len(chunk), message.get("more_body", False)
        if size > most:
            raise _too_large(most)
    return b"".join(chunks)


def _too_large(most: int) -> Problem:
    return Problem(413, f"the body is larger than {most} bytes", "body")


def _unauthenticated(problem: str) -> Problem:
    return Problem(401, problem, "authorization", headers={"www-authenticate": "Bearer"})
