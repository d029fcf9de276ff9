"""The delivery: which answers mean what, and what becomes of the report."""

import contextlib
import dataclasses
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from gpufleet_agent.runtime.delivery import Backoff, Delivery
from gpufleet_agent.runtime.enrol import Enroller
from gpufleet_agent.runtime.push import Answer, Link, Unreachable
from gpufleet_agent.runtime.spool import Spool
from gpufleet_agent.runtime.trust import Trust
from gpufleet_agent.wire import Ack

from tests.agent.ingest_end import TOKEN, IngestEnd, serving
from tests.agent.runtime.test_spool import NODE, append, begin, close

# Key and certificate of "localhost", for tests only; valid for a hundred years.
CERTIFICATE = Path(__file__).with_name("localhost.pem")


@pytest.fixture
def end() -> Iterator[IngestEnd]:
    """A server that takes everything."""
    with serving(IngestEnd()) as end:
        yield end


@dataclasses.dataclass
class Sender:
    """A delivery with two reports in its spool, that does not wait between attempts."""

    spool: Spool
    enroller: Enroller
    delivery: Delivery


def sender(folder: Path, url: str, token: str | None = TOKEN) -> Sender:
    """A sender for this server."""
    spool = Spool(folder, NODE, 1 << 30, 1e9)
    for at in (1, 2):
        draft = begin(spool)
        append(spool, draft, at)
        close(spool, draft)
    enroller = Enroller(folder, NODE, "host", token)
    return Sender(spool, enroller, Delivery(Link(url), spool, enroller, Backoff(0, 0)))


def test_reports_go_in_order_after_enrolment(tmp_path: Path, end: IngestEnd) -> None:
    """Enrol, then the oldest first; each is forgotten once it is committed."""
    sent = sender(tmp_path, end.url)
    for _ in range(3):
        sent.delivery.step()
    assert (end.times, sent.spool.backlog.reports) == ([1, 2], 0)
    assert sent.delivery.due == float("inf")
    assert oct((tmp_path / "credential.json").stat().st_mode)[-3:] == "600"
    assert Enroller(tmp_path, NODE, "host", None).credential == sent.enroller.credential
    assert Enroller(tmp_path, NODE.replace("1", "2"), "host", None).credential is None
    sent.delivery.close()


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 429, 500, 502, 503])
def test_what_may_pass_keeps_the_report(tmp_path: Path, end: IngestEnd, status: int) -> None:
    """Nothing is given up for an answer that does not speak of the report itself."""
    sent = sender(tmp_path, end.url)
    sent.delivery.step()
    end.answers = [(status, "not now")]
    assert sent.delivery.step() == (None, [])
    assert not sent.delivery.reachable
    assert sent.spool.backlog.reports == 2
    sent.delivery.close()


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_will_never_pass_is_put_aside(tmp_path: Path, end: IngestEnd, status: int) -> None:
    """The next report goes on; what the server said is told."""
    sent = sender(tmp_path, end.url)
    sent.delivery.step()
    end.answers = [(status, "times: nonsense")]
    _, events = sent.delivery.step()
    assert [(event.kind, event.detail) for event in events] == [("report_rejected", {"seq": 1})]
    assert events[0].message.endswith(f"HTTP {status}: refused: times: nonsense")
    sent.delivery.step()
    assert end.times == [2]
    sent.delivery.close()


def test_a_wrong_token_is_told_and_tried_again(tmp_path: Path, end: IngestEnd) -> None:
    """Reports are kept; the server's words are in the log."""
    sent = sender(tmp_path, end.url, "wrong")
    sent.delivery.step()
    assert sent.enroller.credential is None
    assert sent.spool.backlog.reports == 2
    sent.delivery.close()


def test_a_report_whose_file_is_gone_is_told(tmp_path: Path, end: IngestEnd) -> None:
    """Somebody tidied up the folder: the gap is an event, the rest goes on."""
    sent = sender(tmp_path, end.url)
    sent.delivery.step()
    min((tmp_path / "spool").iterdir()).unlink()
    _, events = sent.delivery.step()
    assert [event.kind for event in events] == ["report_rejected"]
    sent.delivery.step()
    assert end.times == [2]
    sent.delivery.close()


class _Page(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Something in between that is no gpufleet server."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>\n Please \x1b[2Jlog in</html>")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def test_a_page_of_something_in_between_is_no_acknowledgement(tmp_path: Path) -> None:
    """HTTP 200 from a login page commits nothing."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    (tmp_path / "credential.json").write_text(f'{{"node":"{NODE}","credential":"c"}}')
    sent = sender(tmp_path, f"http://127.0.0.1:{server.server_address[1]}")
    assert sent.delivery.step() == (None, [])
    assert sent.spool.backlog.reports == 2
    assert sent.delivery._told.endswith("HTTP 200: <html> Please [2Jlog in</html>")
    server.shutdown()
    thread.join()
    server.server_close()
    sent.delivery.close()


def test_an_answer_of_any_depth_is_an_answer() -> None:
    """It is read as what it is, no acknowledgement, and ends nobody."""
    answer = Answer(409, "application/problem+json", None, b'{"title":' + b"[" * 100_000)
    assert answer.as_json(Ack) is None
    assert answer.problem.startswith('HTTP 409: {"title":[[[')


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """A port that accepts and stays silent costs no more than the limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = Link(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unreachable, match="Timeout"):
            link.post("/", b"x", {}, limit=0.2)


def test_a_server_that_drips_is_given_up() -> None:
    """A byte now and then does not begin the time anew."""

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(b"H")
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        link = Link(f"http://127.0.0.1:{listening.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(Unreachable, match="Timeout"):
            link.post("/", b"x", {}, limit=0.3)
        assert time.monotonic() - began < 10
        thread.join()


def test_a_network_that_swallows_connections_is_attended_to() -> None:
    """While no connection comes about whoever asks can see to other things, and it ends in time."""
    attended: list[float] = []

    def attend(fd: int, seconds: float) -> None:
        attended.append(seconds)
        select.select([fd], [], [], min(seconds, 0.05))

    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(4):  # the kernel lets in a few and then answers no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        link = Link(f"http://127.0.0.1:{full.getsockname()[1]}", attend=attend)
        with pytest.raises(Unreachable, match="no connection in time"):
            link.post("/", b"x", {}, limit=1.5)
    assert len(attended) > 10


def test_a_large_request_is_sent_as_the_network_takes_it() -> None:
    """While there is no room for the next piece whoever sends can see to other things; all of it arrives."""
    body, came = bytes(range(256)) * (1 << 14), bytearray()
    attended: list[float] = []

    def take(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            # However slow the sender is, it finds no room once.
            while not attended:
                time.sleep(0.001)
            while len(came) < len(body) + came.find(b"\r\n\r\n") + 4:
                came.extend(connection.recv(1 << 16))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def attend(fd: int, seconds: float) -> None:
        attended.append(seconds)
        select.select([fd], [], [], seconds)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        thread = threading.Thread(target=take, args=(listening,), daemon=True)
        thread.start()
        link = Link(f"http://127.0.0.1:{listening.getsockname()[1]}", attend=attend)
        assert link.post("/", body, {}).status == 200
        thread.join()
        link.close()
    head, _, rest = bytes(came).partition(b"\r\n\r\n")
    assert rest == body
    assert f"content-length: {len(body)}" in head.decode().lower()
    assert "transfer-encoding" not in head.decode().lower()
    assert attended


def test_a_large_request_that_nobody_takes_is_given_up() -> None:
    """A server that stops reading costs no more than the limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = Link(f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(Unreachable, match="not sent in time"):
            link.post("/", bytes(64 << 20), {}, limit=0.3)
        assert time.monotonic() - began < 20


def test_a_connection_that_was_closed_is_opened_again(end: IngestEnd) -> None:
    """A server restart between two requests is not a failure."""
    link = Link(end.url)
    assert link.get("/healthz").status == 200
    kept = link._connection
    assert kept is not None
    assert kept.sock is not None
    kept.sock.shutdown(socket.SHUT_RDWR)
    assert link.get("/healthz").status == 200
    link.close()


def test_https_trusts_the_given_file_only() -> None:
    """With the server's own certificate it works, without it the connection is refused."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"https://127.0.0.1:{server.server_address[1]}"
    trusting = Link(url, Trust(CERTIFICATE))
    assert trusting.post("/", b"x", {}).status == 200
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        Link(url).post("/", b"x", {})
    trusting.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_waiting_grows_and_ends() -> None:
    """1 s, 2 s, 4 s … 60 s with jitter, at least what the server asked for, and none after a success."""
    backoff = Backoff()
    waits = []
    for _ in range(9):
        backoff.fail()
        waits.append(backoff._delay)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    backoff.fail(asked=1000)
    assert backoff.until > 900
    backoff.succeed()
    assert backoff.until == 0
