"""A small HTTP/1.1 client for thousands of simulated agents: kept-alive connections, shared, and nothing else.

A request costs a tenth of what it does through a general client, so that a test of the server measures the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_TIMEOUT = 30.0
_MOST_BODY = 1 << 20


class LinkError(ConnectionError):
    """The server can't be reached, or what it answers is no HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """Connections to one server, at most `connections` at once."""

    def __init__(self, url: str, connections: int = 8, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http:// or https:// URL")
        self._host, self._netloc = parts.hostname, parts.netloc
        self._base = parts.path.rstrip("/")
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._idle: list[_Stream] = []
        self._slots = asyncio.Semaphore(connections)

    async def post(self, path: str, headers: Callable[[], Mapping[str, str]], body: bytes) -> Answer:
        """Send a request. LinkError or TimeoutError where no answer comes; it may have been taken all the same.

        `headers` is asked when it is the request's turn: a clock in them must not age while it waits for a connection.
        """
        async with self._slots, asyncio.timeout(_TIMEOUT):
            request = self._head(path, headers(), len(body)) + body
            while self._idle:
                # A kept connection may have been closed meanwhile: the next one, at last a fresh one, is tried.
                with contextlib.suppress(LinkError):
                    return await self._ask(self._idle.pop(), request)
            return await self._ask(await self._connect(), request)

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop()[1].close()

    def _head(self, path: str, headers: Mapping[str, str], length: int) -> bytes:
        lines = [f"POST {self._base}{path} HTTP/1.1", f"host: {self._netloc}", f"content-length: {length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def _connect(self) -> _Stream:
        try:
            return await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        except OSError as error:
            raise LinkError(f"can't reach {self._netloc}: {error}") from error

    async def _ask(self, stream: _Stream, request: bytes) -> Answer:
        async with _closed_on_error(stream):
            stream[1].write(request)
            await stream[1].drain()
            answer = await _read(stream[0])
        if answer.headers.get("connection", "").lower() == "close":
            stream[1].close()
        else:
            self._idle.append(stream)
        return answer


@contextlib.asynccontextmanager
async def _closed_on_error(stream: _Stream) -> AsyncIterator[None]:
    done = False
    try:
        yield
        done = True
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        raise LinkError(f"the connection broke: {error!r}") from error
    finally:
        if not done:
            stream[1].close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _MOST_BODY or "transfer-encoding" in headers:
        raise ValueError(f"an answer of {length} bytes, or of unknown length")
    version, _, status = status_line.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"{status_line[:40]!r} is no HTTP/1.1")
    return Answer(int(status[:3]), headers, await reader.readexactly(length))
