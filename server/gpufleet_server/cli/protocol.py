"""HTTP/1.1 as uvicorn speaks it, with the head of a request bounded in size and in time."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gpufleet_server.domain.problem import Problem

MAX_HEAD = 64 << 10
HEAD_SECONDS = 30.0
_TOO_LARGE = Problem(431, f"the request line and headers are larger than {MAX_HEAD} bytes", "header")


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own waits for ever for the end of a head, and keeps all of it: one client could use up the memory."""

    _head = 0
    _in_head = True
    _too_slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A first request is to come."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """No request is to come."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what is left of a head that is not complete counts against its bound."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        if not self._in_head:
            self._await_head()

    def on_headers_complete(self) -> None:
        """A head has come."""
        self.head_complete()
        super().on_headers_complete()

    def head_complete(self) -> None:
        """What came is a whole head, and small enough. ValueError, the parser's way to stop, where it is not."""
        self._in_head = False
        self._stop_waiting()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD:
            self._refuse(_TOO_LARGE)
            raise ValueError(_TOO_LARGE.detail)

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP."""
        self._refuse(Problem(400, "this is not an HTTP/1.1 request"))

    def _await_head(self) -> None:
        # What the read that brings its beginning holds is not counted: it may hold the end of another body.
        self._head, self._in_head = 0, True
        problem = Problem(408, f"the headers of a request did not come within {HEAD_SECONDS:g} s", "header")
        self._too_slow = self.loop.call_later(HEAD_SECONDS, self._refuse, problem)

    def _stop_waiting(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None

    def _refuse(self, problem: Problem) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(_answer(problem))
            self.transport.close()


def _answer(problem: Problem) -> bytes:
    body = json.dumps(told := problem.body()).encode()
    headers: dict[str, Any] = problem.all_headers() | {"content-length": len(body), "connection": "close"}
    lines = [f"HTTP/1.1 {problem.status} {told['title']}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
