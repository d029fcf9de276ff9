"""Posts prepared requests over kept-alive connections with next to no CPU of its own."""

import collections
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_MOST_CONNECTIONS = 512


class RefusedError(Exception):
    """A server did not take a request; says what it answered."""


@dataclass
class Told:
    """What sending took: requests, bytes of bodies, seconds of wall time, and CPU seconds making the bodies."""

    requests: int = 0
    body_bytes: int = 0
    seconds: float = 0.0
    encoding_cpu: float = 0.0


class Sender:
    """Sends to one path of one server. Each sender of a fleet keeps to a connection, so that its order is kept."""

    def __init__(self, port: int, path: str, in_flight: int = 64) -> None:
        self._port, self._in_flight = port, in_flight
        self._start = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        self._connections: dict[int, socket.socket] = {}

    def send(self, requests: Iterable[tuple[int, Mapping[str, str], bytes]]) -> Told:
        """Send (who sends, headers, body) one after the other, many in flight. RefusedError where one isn't taken.

        All of it is done once this returns. What it takes to make a request is counted as encoding.
        """
        told, waiting = Told(), collections.deque[int]()
        begin, source = time.monotonic(), iter(requests)
        while True:
            cpu = time.thread_time()
            request = next(source, None)
            told.encoding_cpu += time.thread_time() - cpu
            if request is None:
                break
            number = request[0] % _MOST_CONNECTIONS
            while number in waiting or len(waiting) >= self._in_flight:
                _take_answer(self._connections[waiting.popleft()])
            self._post(number, *request[1:])
            waiting.append(number)
            told.requests, told.body_bytes = told.requests + 1, told.body_bytes + len(request[2])
        for number in waiting:
            _take_answer(self._connections[number])
        told.seconds = time.monotonic() - begin
        return told

    def close(self) -> None:
        """Close its connections."""
        while self._connections:
            self._connections.popitem()[1].close()

    def _post(self, number: int, headers: Mapping[str, str], body: bytes) -> None:
        if number not in self._connections:
            self._connections[number] = socket.create_connection(("127.0.0.1", self._port), timeout=120)
            self._connections[number].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{self._start}{lines}content-length: {len(body)}\r\n\r\n"
        self._connections[number].sendall(head.encode() + body)


def _take_answer(connection: socket.socket) -> None:
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) < end + 4 + _length(answer[:end]):
        received = connection.recv(65536)
        if not received:
            raise RefusedError(f"the connection ended after {answer[:500]!r}")
        answer += received
    if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")):
        raise RefusedError(answer.decode("latin-1"))


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n")[0]) if found else 0
