"""The server as a whole: what answers where, and how it says that something is wrong."""

import contextlib
import json
import logging
import re
import socket
import threading
from pathlib import Path

import httpx
import pytest
from gpufleet_agent import wire
from gpufleet_server.api import transport
from gpufleet_server.cli import protocol
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.ingest import request
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from gpufleet_server.store.retention import Keep

from tests.server.ingest.agents import DAY, Server, run, until
from tests.server.live import address

__all__ = ["address"]


@pytest.mark.parametrize(("path", "word"), [("/", "gpufleet"), ("/healthz", "alive"), ("/readyz", "ready")])
def test_some_pages_need_no_token(tmp_path: Path, path: str, word: str) -> None:
    """What this is, whether it lives and whether it can take reports."""

    async def story(server: Server) -> None:
        answer = await server.client.get(path)
        assert answer.status_code == 200
        assert word in answer.json().values()

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/nowhere", 404),
        ("POST", "/healthz", 405),
        ("GET", wire.REPORT_PATH, 405),
        ("DELETE", wire.ENROL_PATH, 405),
        ("GET", "/api/v1/summary", 401),
        ("GET", "/metrics", 401),
        ("POST", wire.REPORT_PATH, 401),
        ("POST", wire.ENROL_PATH, 401),
    ],
)
def test_each_error_is_a_problem(tmp_path: Path, method: str, path: str, status: int) -> None:
    """Every refusal is application/problem+json and says what it is."""

    async def story(server: Server) -> None:
        answer = await server.client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
        assert answer.json()["detail"]
        assert (status == 405) == ("allow" in answer.headers)

    run(tmp_path, story)


def test_what_is_reported_can_be_read(tmp_path: Path) -> None:
    """From a report to the API and the metrics, through the tokens of both sides."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await server.send(agent, agent.report(roster=agent.roster()))
        headers = {"authorization": f"Bearer {server.token(TokenKind.READER)}"}
        summary = (await server.client.get("/api/v1/summary", headers=headers)).json()
        assert summary["gpus"]["total"] == 2
        metrics = (await server.client.get("/metrics", headers=headers)).text
        assert "gpufleet" in metrics
        assert (await server.client.get("/api/v1/openapi.json")).status_code == 200

    run(tmp_path, story)


def test_old_samples_are_removed(tmp_path: Path) -> None:
    """A server that runs begins at once to remove what is older than it is to keep."""

    async def fill(server: Server) -> None:
        agent = server.agent()
        old = agent.clock().wall - 9 * DAY
        await server.send(agent, agent.report(samples=[agent.samples([old, old + 8 * DAY])]))
        assert server.counts()["samples"] == 4

    async def story(server: Server) -> None:
        await until(lambda: server.counts()["samples"] == 2)

    run(tmp_path, fill)
    run(tmp_path, story, keep=Keep(samples=2 * DAY))


def test_a_failure_tells_nothing_of_its_inside(tmp_path: Path) -> None:
    """An agent is not told what the store said when it failed, and the server lives."""

    async def story(server: Server) -> None:
        agent = server.agent()
        with server.store.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE tokens RENAME TO hidden")
        answer = await server.send(agent, agent.report())
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert "tokens" not in answer.text
        with server.store.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE hidden RENAME TO tokens")
        assert (await server.send(agent, agent.report())).status_code == 200

    run(tmp_path, story)


def test_a_store_that_is_not_migrated_is_not_ready(tmp_path: Path) -> None:
    """Ready means that the store has the schema of this version."""

    async def story(server: Server) -> None:
        with server.store.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'older'")
        answer = await server.client.get("/readyz")
        assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")

    run(tmp_path, story)


def test_tokens_do_not_reach_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is logged, no token is in it."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await server.send(agent, agent.report())
        await server.send_bytes(agent, b"rubbish")
        assert agent.credential not in caplog.text

    with caplog.at_level(logging.DEBUG):
        run(tmp_path, story)


def _speak(host: str, port: int, sent: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=5) as connection:
        answer = b""
        # Who is refused in the midst of what he says may hear it as a broken connection.
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        with contextlib.suppress(ConnectionError):
            while more := connection.recv(65536):
                answer += more
        return answer


def test_rubbish_on_the_socket_does_no_harm(address: tuple[str, int, Store]) -> None:
    """What is no HTTP, heads and bodies that are too large or never end: a problem, and the next request is taken."""
    host, port, store = address
    post = f"POST {wire.REPORT_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
    for status, sent in (
        (400, b"\x16\x03\x01 hello\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n"),
        (400, b"BREW /coffee HTTP/1.1\r\n\r\n"),
        (400, b"GET /\xff HTTP/1.1\r\n\r\n"),
        (400, post + b"Content-Length: -1\r\n\r\n"),
        (400, post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
        (401, post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (401, post + b"Content-Length: 1000\r\n\r\nhalf"),
        (431, post + b"X-Filler: " + b"a" * 100_000 + b"\r\n\r\n"),
        (431, post + b"".join(b"X-%d: y\r\n" % number for number in range(20_000)) + b"\r\n"),
        (431, post + b"X-Filler: " + b"a" * 10_000_000),
        (404, b"GET /healthz/websocket HTTP/1.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"),
    ):
        answer = _speak(host, port, sent)
        assert answer.startswith(b"HTTP/1.1 %d " % status), (sent[:60], answer)
        assert b"application/problem+json" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == status
    with httpx.Client(base_url=f"http://{host}:{port}") as client:
        assert client.get("/readyz").status_code == 200
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM nodes").scalar_one() == 0


def test_a_large_body_in_one_piece_is_no_large_head(address: tuple[str, int, Store]) -> None:
    """Neither behind its own head, nor before the head of the next request."""
    host, port, _ = address
    post = f"POST {wire.REPORT_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n".encode() + bytes(200_000)
    answer = _speak(host, port, post + post + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"401", b"401", b"200"]


def test_a_head_that_does_not_end_is_not_waited_for(
    address: tuple[str, int, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone who connects and says nothing, or a byte now and then, does not hold a connection for ever."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    host, port, _ = address
    for begin in (b"", b"GET /", b"GET /healthz HTTP/1.1\r\n\r\nGET /"):
        answer = _speak(host, port, begin)
        assert b"HTTP/1.1 408 " in answer
        assert answer.count(b"HTTP/1.1 200 ") == begin.count(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api/v1/tokens", "Content-Type: application/json"),
        (wire.REPORT_PATH, f"Content-Type: {wire.CONTENT_TYPE}\r\nContent-Encoding: {wire.ENCODING}"),
    ],
)
def test_a_body_that_does_not_end_is_not_waited_for(
    address: tuple[str, int, Store], monkeypatch: pytest.MonkeyPatch, path: str, headers: str
) -> None:
    """It holds no connection for ever either."""
    monkeypatch.setattr(transport, "_BODY_SECONDS", 0.1)
    monkeypatch.setattr(request, "BODY_SECONDS", 0.1)
    host, port, store = address
    with store.writing() as connection:
        _, credential = tokens.create(connection, TokenKind.NODE, "alpha", node="alpha")
    head = f"POST {path} HTTP/1.1\r\nConnection: close\r\nAuthorization: Bearer {credential}\r\n{headers}\r\n"
    assert b"HTTP/1.1 408 " in _speak(host, port, f"{head}Content-Length: 1000\r\n\r\nhalf".encode())


def test_an_early_end_of_a_story_stops_the_writer(tmp_path: Path) -> None:
    """The writer's thread ends with the app even where the app ends by an error."""

    async def story(_server: Server) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, story)
    assert not [thread for thread in threading.enumerate() if thread.name == "gpufleet-writer"]
