"""A small HTTP/1.1 client for thousands of simulated agents: kept-alive connections, shared, and nothing else.

A request costs a twentieth of what it does through a general client, so that a test of the server measures the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Protocol, cast
from urllib.parse import urlsplit

from gpufleet_agent import __version__ as agent_version

_TIMEOUT = 30.0
_CONNECT_TIMEOUT = 5.0
_MOST_HEAD, _MOST_BODY = 16 << 10, 1 << 20
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_ENDS = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


class LinkError(ConnectionError):
    """The server can't be reached, or what it answers is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `head` is its status line and headers as they came."""

    status: int
    head: bytes
    body: bytes

    @property
    def retry_after(self) -> float:
        """The seconds that the server asks to wait; 0 where it does not."""
        found = _RETRY_AFTER.search(self.head)
        return float(found[1]) if found else 0.0


class Sender(Protocol):
    """Something that asks the server, one request at a time."""

    def request(self) -> bytes | None:
        """The whole request, now that it is its turn: a clock in it must not age. None where it has none any more."""

    def answered(self, answer: Answer) -> None:
        """The answer came."""

    def failed(self, error: LinkError) -> None:
        """No answer came; the request may have been taken all the same."""


class Link:
    """Connections to one server, at most `connections` at once; whoever submits first has its turn first."""

    def __init__(self, url: str, connections: int = 8, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL")
        self._host, self.netloc = parts.hostname, parts.netloc
        self._base = parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._free = connections
        self._queue: deque[Sender] = deque()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    def head(self, path: str, **headers: str) -> bytes:
        """The beginning of a POST to that path, to which `content-length` and the body are added. `_` means `-`."""
        lines = [
            f"POST {self._base}{path} HTTP/1.1",
            f"host: {self.netloc}",
            f"user-agent: gpufleet-agent/{agent_version}",
            "accept: application/json",
            "accept-encoding: identity",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        return "\r\n".join([*lines, ""]).encode("latin-1")

    def submit(self, sender: Sender) -> None:
        """Let it send its request when a connection is free."""
        self._queue.append(sender)
        self._go_on()

    def expire(self) -> None:
        """End requests that have waited too long for their answers. To be called each second or so."""
        late = asyncio.get_running_loop().time() - _TIMEOUT
        for connection in [one for one in self._busy if one.since < late]:
            connection.fail(LinkError(f"no answer within {_TIMEOUT:.0f} s"))

    def close(self) -> None:
        """Close all connections; whoever waits for an answer, or for a turn, hears that it fails."""
        queued, self._queue = self._queue, deque()
        for task in list(self._connecting):
            task.cancel()
        for connection in [*self._busy, *self._idle]:
            connection.fail(LinkError("closed"))
        for sender in queued:
            sender.failed(LinkError("closed"))

    def _go_on(self) -> None:
        while self._queue and (self._idle or self._free):
            sender = self._queue.popleft()
            if self._idle:
                self._ask(self._idle.pop(), sender)
            else:
                self._free -= 1
                task = asyncio.ensure_future(self._connect(sender))
                self._connecting.add(task)
                task.add_done_callback(self._connecting.discard)

    def _ask(self, connection: _Connection, sender: Sender) -> None:
        request = sender.request()
        if request is None:
            self._idle.append(connection)
        else:
            self._busy.add(connection)
            connection.ask(sender, request)

    async def _connect(self, sender: Sender) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self), self._host, self._port, ssl=self._tls
                )
        except asyncio.CancelledError:
            self._free += 1
            sender.failed(LinkError("closed"))
            raise
        except OSError as error:
            self._free += 1
            sender.failed(LinkError(f"can't reach {self.netloc}: {error or 'no answer'}"))
        else:
            self._ask(connection, sender)
        self._go_on()

    def release(self, connection: _Connection) -> None:
        """A connection has its answer, and may be used again."""
        self._busy.discard(connection)
        self._idle.append(connection)
        self._go_on()

    def lost(self, connection: _Connection) -> None:
        """A connection is closed."""
        self._busy.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        self._free += 1
        self._go_on()

    def again(self, sender: Sender) -> None:
        """A kept connection was closed just as it was used: the request goes out once more, on another one."""
        self._queue.appendleft(sender)


class _Connection(asyncio.Protocol):
    """One connection, with at most one request on it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._sender: Sender | None = None
        self._had = b""
        self._used = False
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        # uvloop's transports only look like asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, sender: Sender, request: bytes) -> None:
        """Send a request."""
        self._sender, self.since = sender, asyncio.get_running_loop().time()
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """A part of an answer came, mostly all of it."""
        data = self._had + data if self._had else data
        try:
            answer = _parsed(data)
        except ValueError as error:
            self.fail(LinkError(f"the answer is no HTTP/1.1: {error}"))
            return
        if answer is None:
            self._had = data
            return
        sender, self._sender, self._had, self._used = self._sender, None, b"", True
        if sender is None or _ENDS.search(answer.head):
            self.fail(LinkError("closed"))
        else:
            self._link.release(self)
        if sender is not None:
            sender.answered(answer)

    def connection_lost(self, _: Exception | None) -> None:
        """It is closed."""
        sender, self._sender = self._sender, None
        # The request may have crossed with the end of a kept connection. Sending it twice does no harm.
        again = sender is not None and self._used and not self._had
        if sender is not None and again:
            self._link.again(sender)
        self._link.lost(self)
        if sender is not None and not again:
            sender.failed(LinkError("the connection broke before the whole answer had come"))

    def fail(self, error: LinkError) -> None:
        """Close it; whoever waits for an answer hears why there is none."""
        sender, self._sender = self._sender, None
        if self._transport is not None:
            self._transport.abort()
        if sender is not None:
            sender.failed(error)


def _parsed(data: bytes) -> Answer | None:
    """The answer, or None where more is to come. ValueError where it is none."""
    end = data.find(b"\r\n\r\n")
    if not data.startswith(b"HTTP/1."[: len(data)]):
        raise ValueError(f"{data[:40]!r}")
    if end < 0:
        if len(data) > _MOST_HEAD:
            raise ValueError("headers without an end")
        return None
    head = data[: end + 2]
    length = _LENGTH.search(head)
    if length is None or int(length[1]) > _MOST_BODY:
        raise ValueError("an answer that is too long, or of unknown length")
    begin, whole = end + 4, end + 4 + int(length[1])
    if len(data) < whole:
        return None
    if len(data) > whole:
        raise ValueError("more than one answer")
    return Answer(int(data[9:12]), head, data[begin:whole])
