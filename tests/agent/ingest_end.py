"""The other end for agents under test: a real HTTP server that enrols, remembers and acknowledges, or misbehaves."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
from gpufleet_agent.wire import (
    CLOCK_HEADER,
    ENROL_PATH,
    RENEW_PATH,
    Ack,
    Credential,
    Enrolment,
    Report,
    decode,
    parse_clock,
    unpack,
)

TOKEN = "join-me"
CREDENTIAL = "only-for-this-node"


class IngestEnd:
    """What came, and how to answer. `answers` are (status, problem) to give before acknowledging again."""

    def __init__(self) -> None:
        self.port = 0
        self.reports: list[Report] = []
        self.enrolments: list[Enrolment] = []
        self.answers: list[tuple[int, str]] = []
        self.headers: dict[str, str] = {}
        self.credential = CREDENTIAL
        self.roster_wanted = False
        self.renew = False
        # Given, and not used yet: the one before holds until it is.
        self.next_credential: str | None = None
        self.renewals = 0
        self._seen: set[tuple[str, int]] = set()

    @property
    def url(self) -> str:
        """Where to push to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def times(self) -> list[int]:
        """The times of all samples that came, a repeated report counted once."""
        return [time for report in self.reports for samples in report.samples for time in unpack(samples.times, 8)]

    @property
    def kinds(self) -> list[str]:
        """The kinds of all events that came."""
        return [event.kind for report in self.reports for event in report.events]

    def commit(self, report: Report) -> Ack:
        """Take a report once."""
        duplicate = (report.stream, report.seq) in self._seen
        if not duplicate:
            self._seen.add((report.stream, report.seq))
            self.reports.append(report)
        wanted, self.roster_wanted = self.roster_wanted, False
        return Ack(
            seq=report.seq,
            duplicate=duplicate,
            roster_wanted=wanted,
            clock_offset=0,
            server_time=1,
            renew=self.renew,
        )

    def takes(self, bearer: str) -> bool:
        """Whether this credential is good; a renewed one ends the one before it."""
        if bearer == self.next_credential:
            self.credential, self.next_credential = bearer, None
        return bearer == self.credential


@contextmanager
def serving(end: IngestEnd, tls: ssl.SSLContext | None = None) -> Iterator[IngestEnd]:
    """Serve `end` while the block runs; again on the same port the second time."""

    class Handler(_Handler):
        ingest = end

    server = ThreadingHTTPServer(("127.0.0.1", end.port), Handler)
    server.daemon_threads = True
    end.port = int(server.server_address[1])
    if tls is not None:
        # The handshake is left to the thread of the connection.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield end
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    ingest: IngestEnd
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """A connection; who goes away in the middle of it is not worth a word."""
        with contextlib.suppress(OSError):
            super().handle()

    def do_GET(self) -> None:
        """`/healthz`."""
        self._answer(200, {})

    def do_POST(self) -> None:
        """Enrolments and reports."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path == ENROL_PATH:
            self._enrol(bearer, body)
        elif not self.ingest.takes(bearer):
            self._answer(401, {"title": "Unauthorized"})
        elif self.ingest.answers:
            status, detail = self.ingest.answers.pop(0)
            self._answer(status, {"title": "refused", "detail": detail})
        elif self.path == RENEW_PATH:
            self._renew(body)
        elif not body:
            self._answer(400, {"title": "no report"})
        else:
            parse_clock(self.headers[CLOCK_HEADER])
            self._answer(200, self.ingest.commit(decode(body)))

    def _enrol(self, bearer: str, body: bytes) -> None:
        if bearer != TOKEN:
            self._answer(401, {"title": "Unauthorized", "detail": "no such join token"})
            return
        enrolment = msgspec.json.decode(body, type=Enrolment)
        self.ingest.enrolments.append(enrolment)
        self._answer(200, Credential(node=enrolment.node, credential=self.ingest.credential))

    def _renew(self, body: bytes) -> None:
        self.ingest.renewals += 1
        self.ingest.next_credential = f"{CREDENTIAL}-{self.ingest.renewals}"
        node = msgspec.json.decode(body, type=Enrolment).node
        self._answer(201, Credential(node=node, credential=self.ingest.next_credential))

    def _answer(self, status: int, content: object) -> None:
        body = msgspec.json.encode(content)
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.ingest.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""
