"""Reports over HTTP/1.1 with neither a task nor an ASGI scope each, which is most of what one costs otherwise.

What is no plain report, and what its endpoint does not take that way, goes uvicorn's way.
"""

import asyncio
from http import HTTPStatus

from gpufleet_agent import wire

from gpufleet_server.cli.protocol import BoundedProtocol
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest import request
from gpufleet_server.ingest.endpoint import Reports

_PATH = wire.REPORT_PATH.encode()
# Longer bodies are decoded beside the event loop.
LONGEST = 16 << 10
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class ReportProtocol(BoundedProtocol):
    """A connection over which agents report. `reports` takes what they send."""

    reports: Reports
    # The body of the report that is coming, as far as it is there.
    _body: list[bytes] | None = None
    # Whether one is being written; what comes meanwhile over the same connection is not listened to.
    _busy = False
    _deaf = False
    _last = False
    _late: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take what came; a body that is not complete must be so in time."""
        super().data_received(data)
        if self._body is not None and self._late is None:
            problem = Problem(408, f"the body did not come within {request.BODY_SECONDS} s", "body")
            self._late = self.loop.call_later(request.BODY_SECONDS, self._refuse, problem)

    def connection_lost(self, exc: Exception | None) -> None:
        """No body is to come."""
        self._in_time()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins; one that did not wait for its turn has to come again over another connection."""
        self._deaf = self._deaf or self._busy
        if not self._deaf:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the URL."""
        if not self._deaf:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if not self._deaf:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head has come: of a report, or of something else."""
        if self._deaf:
            return
        if self._is_report():
            self.head_complete()
            self._body = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._body is not None:
            self._body.append(body)
        elif not self._deaf:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there."""
        if self._body is None:
            if not self._deaf:
                super().on_message_complete()
            return
        body, self._body, self._busy = b"".join(self._body), None, True
        self._last = not self.parser.should_keep_alive()
        self._in_time()
        if not self.reports.take(dict(self.headers), body, self._answer):
            self._busy = False
            self._hand_on(body)

    def shutdown(self) -> None:
        """The server ends: at once, or with the answer that is due."""
        if self._busy:
            self._deaf = True
        else:
            super().shutdown()

    def _is_report(self) -> bool:
        waits = self.cycle is not None and not self.cycle.response_complete
        if waits or self.url != _PATH or self.parser.get_method() != b"POST" or self.expect_100_continue:
            return False
        given = dict(self.headers)
        length = given.get(b"content-length", b"")
        plain = b"authorization" in given and self.parser.get_http_version() == "1.1"
        return plain and len(length) < 6 and length.isdigit() and int(length) <= LONGEST

    def _hand_on(self, body: bytes) -> None:
        # As if it were coming only now.
        super().on_headers_complete()
        if body:
            super().on_body(body)
        super().on_message_complete()

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _answer(self, status: int, head: request.Head, body: bytes) -> None:
        self._busy = False
        if self.transport.is_closing():
            return
        last = self._deaf or self._last
        lines = [_STATUS[status], *(b"%b: %b\r\n" % line for line in head)]
        closing = b"connection: close\r\n" if last else b""
        self.transport.write(b"".join((*lines, b"content-length: %d\r\n" % len(body), closing, b"\r\n", body)))
        if last:
            self.transport.close()
        self.on_response_complete()
