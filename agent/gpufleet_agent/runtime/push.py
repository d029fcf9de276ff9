"""One kept-alive HTTP connection to the server, used from the agent's only thread."""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import msgspec

from gpufleet_agent import __version__
from gpufleet_agent.runtime.clock import monotonic
from gpufleet_agent.runtime.proxy import Proxy
from gpufleet_agent.runtime.trust import Trust

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
_MAX_ANSWER = 1 << 20
_MAX_TEXT = 1000
# What a socket takes at once when it takes anything.
_PIECE = 16 << 10


_T = TypeVar("_T")

# Waits until a descriptor can be read or for some seconds; may come back before.
Attend = Callable[[int, float], object]


class Unreachable(Exception):
    """No answer: no connection, no name, a certificate that is not trusted, time over. The text says which."""


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    content_type: str
    retry_after: float | None
    body: bytes

    @property
    def is_problem(self) -> bool:
        """Whether it is a problem document of a gpufleet server, not a page of something in between."""
        return self.content_type.startswith("application/problem+json")

    def as_json(self, kind: type[_T]) -> _T | None:
        """The body as what it should be; None where it is not: whatever is in between may send anything."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    @property
    def problem(self) -> str:
        """The server's own words, or the start of whatever came."""
        told = self.as_json(dict[str, object])
        if told is None:
            text = self.body[:200].decode("utf-8", "replace")
        else:
            text = ": ".join(word for key in ("title", "detail") if isinstance(word := told.get(key), str) and word)
        # One line without what a terminal would obey, whatever the other end is.
        text = "".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT])
        text = " ".join(text.split())
        return f"HTTP {self.status}" + (f": {text}" if text else "")


class Link:
    """Speaks to one server. A connection that the server closed meanwhile is opened anew without a word."""

    def __init__(
        self, server: str, trust: Trust | None = None, proxy: Proxy | None = None, attend: Attend | None = None
    ) -> None:
        """`server` is its base URL, such as `https://gpufleet.example`; `attend` waits for its answers."""
        self._attend = attend or _wait
        self._end = 0.0
        self._url: SplitResult = urlsplit(server)
        self._trust, self._proxy = trust or Trust(), proxy
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, headers: dict[str, str], limit: float = READ_SECONDS) -> Answer:
        """Send and wait for the answer. Unreachable where there is none within `limit` seconds."""
        return self._ask("POST", path, body, headers, limit)

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        return self._ask("GET", path, None, {}, READ_SECONDS)

    def hurry(self, seconds: float) -> None:
        """Wait for the answer that is on its way no longer than this."""
        self._end = min(self._end, monotonic() + seconds)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str], limit: float) -> Answer:
        self._end = end = monotonic() + limit
        headers = {"User-Agent": f"gpufleet-agent/{__version__}", "Accept": "application/json", **headers}
        try:
            kept = self._connection is not None and not self._closed_by_server()
            connection = self._connected(min(CONNECT_SECONDS, limit))
            if connection.sock is not None:
                connection.sock.settimeout(max(0.1, end - monotonic()))
            try:
                return self._exchange(connection, method, path, body, headers)
            except (ConnectionError, http.client.BadStatusLine):
                # It may have been closed just as we wrote. Sending twice does no harm: reports are numbered.
                if not kept:
                    raise
                self.close()
                return self._exchange(self._connected(CONNECT_SECONDS), method, path, body, headers)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            self.close()
            told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise Unreachable(f"{told}; through the proxy {self._proxy}" if self._proxy else told) from error

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> Answer:
        sent: bytes | Iterator[bytes] | None = body
        if body is not None and len(body) > _PIECE and connection.sock is not None:
            sent, headers = self._pieces(connection.sock, body), {**headers, "Content-Length": str(len(body))}
        target = self._url.path.rstrip("/") + path
        if self._proxy is not None and self._url.scheme == "http":
            # To a proxy that passes it on as it is.
            target, headers = f"http://{self._url.netloc}{target}", {**headers, **self._proxy.headers}
        connection.request(method, target, sent, headers)
        response = connection.getresponse()
        data = response.read(_MAX_ANSWER)
        if response.will_close or not response.isclosed():
            self.close()
        return Answer(response.status, response.headers.get_content_type(), _seconds(response), data)

    def _connected(self, seconds: float) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        connection = self._new_connection(seconds)
        connection.response_class = self._response  # type: ignore[assignment]
        # How http.client dials; the public ways would block for as long as the network does.
        vars(connection)["_create_connection"] = self._dial
        connection.connect()
        connection.sock.settimeout(READ_SECONDS)
        self._connection = connection
        return connection

    def _new_connection(self, seconds: float) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        at = (self._proxy.host, self._proxy.port) if self._proxy else (host, port)
        if self._url.scheme == "http":
            return http.client.HTTPConnection(*at, timeout=seconds)
        connection = http.client.HTTPSConnection(*at, timeout=seconds, context=self._trust.context())
        if self._proxy is not None:
            connection.set_tunnel(host, port, self._proxy.headers)
        return connection

    def _dial(self, address: tuple[str, int], timeout: float, source: object = None) -> socket.socket:
        """What socket.create_connection gives; attended to while the other end keeps silent."""
        trouble: OSError = OSError("the name has no address")
        for family, kind, protocol, _, where in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, protocol)
            try:
                self._connect(sock, where, monotonic() + timeout)
            except OSError as error:
                sock.close()
                trouble = error
            else:
                sock.settimeout(timeout)
                return sock
        raise trouble

    def _connect(self, sock: socket.socket, where: Any, end: float) -> None:
        sock.setblocking(False)
        sock.connect_ex(where)
        self._await_room(sock, end, "no connection in time")
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))

    def _pieces(self, sock: socket.socket, body: bytes) -> Iterator[bytes]:
        """A large body, each piece once there is room for it: sending may take as long as the network does."""
        for begin in range(0, len(body), _PIECE):
            self._await_room(sock, self._end, "the request was not sent in time")
            sock.settimeout(max(0.1, self._end - monotonic()))
            yield body[begin : begin + _PIECE]

    def _await_room(self, sock: socket.socket, end: float, late: str) -> None:
        """Wait until something can be written. TimeoutError with those words at the end."""
        # A set of one, since it can be read when the socket can be written.
        with select.epoll() as watch:
            watch.register(sock, select.EPOLLOUT)
            while not watch.poll(0):
                left = min(end, self._end) - monotonic()
                if left <= 0:
                    raise TimeoutError(late)
                self._attend(watch.fileno(), left)

    def _response(self, sock: socket.socket, method: str | None = None) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(sock, method=method)
        response.fp = io.BufferedReader(_Paced(sock, response.fp, self._await_more))
        return response

    def _await_more(self, sock: socket.socket) -> None:
        """Wait until something can be read. TimeoutError at the end of the time for the whole answer."""
        while not select.select([sock], [], [], 0)[0]:
            left = self._end - monotonic()
            if left <= 0:
                raise TimeoutError("no whole answer in time")
            self._attend(sock.fileno(), left)
        sock.settimeout(max(0.1, self._end - monotonic()))

    def _closed_by_server(self) -> bool:
        """A kept connection with something to read is at its end."""
        sock = self._connection.sock if self._connection is not None else None
        if sock is not None and not select.select([sock], [], [], 0)[0]:
            return False
        self.close()
        return True


class _Paced(io.RawIOBase):
    """What comes from a socket, each piece awaited by `wait`: a timeout of the socket's own begins anew with each."""

    def __init__(self, sock: socket.socket, file: io.BufferedIOBase, wait: Callable[[socket.socket], None]) -> None:
        # The file is the socket's: it keeps it open for as long as this is.
        self._sock, self._file, self._wait = sock, file, wait

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read what is there, once there is something."""
        pending = getattr(self._sock, "pending", None)
        if pending is None or not pending():
            self._wait(self._sock)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._file.close()
        super().close()


def _wait(fd: int, seconds: float) -> None:
    select.select([fd], [], [], seconds)


def _seconds(response: http.client.HTTPResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() else None
