"""The port for scrapes: served from the agent's loop, so that no client can hold the agent up. Loaded on demand."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from gpufleet_agent.runtime.clock import monotonic

PLAIN_TEXT = "text/plain; charset=utf-8"
CLIENT_SECONDS = 5.0
MOST_CLIENTS = 32
_HEAD_BYTES = 8192
_BACKLOG = 64
_STATUS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
}


@dataclass(eq=False)
class _Client:
    """One connection: what it has asked so far, then what it is still to be sent."""

    sock: socket.socket
    until: float
    head: bytes = b""
    out: memoryview | None = None


class Listener:
    """Answers `GET /metrics` with `page()`. Never blocks; a client that is slow or one too many is let go."""

    def __init__(self, address: tuple[str, int], page: Callable[[], bytes], kind: str = PLAIN_TEXT) -> None:
        """Open the port; `kind` is the page's content type. OSError where the port is taken."""
        self._page, self._kind = page, kind
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._server = socket.create_server(address, family=family, backlog=_BACKLOG)
        self._server.setblocking(False)
        self._clients: list[_Client] = []

    @property
    def readers(self) -> list[int]:
        """Descriptors to wait on until they can be read."""
        return [self._server.fileno(), *(client.sock.fileno() for client in self._clients if client.out is None)]

    @property
    def writers(self) -> list[int]:
        """Descriptors to wait on until they can be written."""
        return [client.sock.fileno() for client in self._clients if client.out is not None]

    @property
    def due(self) -> float:
        """When `tend` is wanted at the latest (monotonic seconds)."""
        return min((client.until for client in self._clients), default=float("inf"))

    @property
    def port(self) -> int:
        """The port in use, also where 0 was asked for."""
        return int(self._server.getsockname()[1])

    def tend(self) -> None:
        """Let in who came, go on with each client as far as it goes, let go of those whose time is over."""
        self._accept()
        for client in list(self._clients):
            try:
                over = self._go_on(client) or monotonic() >= client.until
            except BlockingIOError:
                over = monotonic() >= client.until
            except OSError:
                over = True
            if over:
                self._let_go(client)

    def close(self) -> None:
        """Let go of the port and of all clients."""
        for client in list(self._clients):
            self._let_go(client)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # nobody more, or gone already
            for _ in range(_BACKLOG):
                sock, _ = self._server.accept()
                sock.setblocking(False)
                self._clients.append(_Client(sock, monotonic() + CLIENT_SECONDS))
                if len(self._clients) > MOST_CLIENTS:
                    self._let_go(self._clients[0])

    def _go_on(self, client: _Client) -> bool:
        """Whether it is done with. OSError where it has gone, BlockingIOError where it is to be waited for."""
        while client.out is None:
            data = client.sock.recv(_HEAD_BYTES)
            client.head += data
            if not data:
                return True
            status = _status(client.head)
            if status is not None:
                client.out = memoryview(self._response(status))
        while client.out:
            client.out = client.out[client.sock.send(client.out) :]
        return True

    def _response(self, status: int) -> bytes:
        found = status == 200
        body = self._page() if found else f"{status} {_STATUS[status]}\n".encode()
        kind = self._kind if found else PLAIN_TEXT
        allow = "Allow: GET\r\n" if status == 405 else ""
        head = f"HTTP/1.1 {status} {_STATUS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{allow}"
        return f"{head}Connection: close\r\n\r\n".encode() + body

    def _let_go(self, client: _Client) -> None:
        self._clients.remove(client)
        client.sock.close()


def _status(head: bytes) -> int | None:
    """What to answer to a request; None while it is not whole."""
    if b"\r\n\r\n" not in head and b"\n\n" not in head:
        return 431 if len(head) > _HEAD_BYTES else None
    words = head.split(b"\n", 1)[0].split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/"):
        return 400
    if words[0] != b"GET":
        return 405
    return 200 if words[1].split(b"?", 1)[0] in (b"/metrics", b"/") else 404
