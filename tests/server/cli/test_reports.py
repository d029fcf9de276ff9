"""Reports over real sockets, where they take the short way and where they don't."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gpufleet_agent import wire
from gpufleet_server.cli import reports
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.ingest import request
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store

from tests.server import stored
from tests.server.ingest.agents import Agent, Time
from tests.server.live import address

__all__ = ["address"]

Address = tuple[str, int, Store]


@pytest.fixture
def agent(address: Address) -> Agent:
    """A node with a credential."""
    made = Agent(Time())
    with address[2].writing() as connection:
        made.credential = tokens.create(connection, TokenKind.NODE, "n", node=made.node, now=made.time())[1]
    return made


@pytest.fixture
def connection(address: Address) -> Iterator[socket.socket]:
    """A connection to the server."""
    with socket.create_connection(address[:2], timeout=10) as opened:
        yield opened


def _request(agent: Agent, body: bytes, **headers: str) -> bytes:
    given = {
        "host": "x",
        "authorization": f"Bearer {agent.credential}",
        "content-type": wire.CONTENT_TYPE,
        "content-encoding": wire.ENCODING,
        "content-length": str(len(body)),
    } | headers
    lines = [f"POST {wire.REPORT_PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the next answer."""
    with connection.makefile("rb") as file:
        status = int(file.readline().split()[1])
        lines = iter(lambda: file.readline().decode().strip(), "")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return status, headers, json.loads(file.read(int(headers["content-length"])))


def test_reports_follow_each_other_on_one_connection(address: Address, agent: Agent, connection: socket.socket) -> None:
    """Each is answered once it is committed: the first, whose token is not known yet, and those after it."""
    for seq in (1, 2, 3):
        agent.time.at += 1_000_000
        connection.sendall(_request(agent, wire.encode(agent.report())))
        status, headers, ack = _answer(connection)
        assert (status, ack["seq"], ack["duplicate"]) == (200, seq, False)
        assert headers["content-type"] == "application/json"
        assert "connection" not in headers
    assert stored.count(address[2]) == 6


def test_a_report_may_come_in_pieces(address: Address, agent: Agent, connection: socket.socket) -> None:
    """However it is cut, and again as a whole: it is stored once."""
    body = wire.encode(agent.report())
    request = _request(agent, body)
    for cut in (10, 100, len(request) - len(body), len(request) - 1):
        connection.sendall(request[:cut])
        time.sleep(0.02)
        connection.sendall(request[cut:])
        assert _answer(connection)[0] == 200
    assert stored.count(address[2]) == 2


def test_a_large_report_goes_the_long_way(address: Address, agent: Agent, connection: socket.socket) -> None:
    """More than the short way takes, or without a length: stored all the same, over the same connection."""
    many = agent.report(samples=[agent.samples([agent.time() - n * 1000 for n in range(2000, 0, -1)])])
    body = wire.encode(many)
    assert len(body) > reports.LONGEST
    connection.sendall(_request(agent, body))
    assert _answer(connection)[0] == 200
    connection.sendall(_request(agent, wire.encode(agent.report())))
    assert _answer(connection)[0] == 200
    assert stored.count(address[2]) == 4002


@pytest.mark.parametrize(
    ("headers", "status", "field"),
    [
        ({"authorization": "Bearer gpf_node_wrong"}, 401, "authorization"),
        ({"content-type": "text/plain"}, 415, "content-type"),
        ({wire.CLOCK_HEADER: "noon"}, 400, wire.CLOCK_HEADER),
    ],
)
def test_what_is_wrong_is_told(
    agent: Agent, connection: socket.socket, headers: dict[str, str], status: int, field: str
) -> None:
    """The same answers as on the long way, and the connection is still good for a report."""
    connection.sendall(_request(agent, wire.encode(agent.report())))
    assert _answer(connection)[0] == 200
    connection.sendall(_request(agent, wire.encode(agent.report()), **headers))
    told, given, problem = _answer(connection)
    assert (told, given["content-type"], problem["field"]) == (status, "application/problem+json", field)
    agent.time.at += 1_000_000
    connection.sendall(_request(agent, wire.encode(agent.report())))
    assert _answer(connection)[0] == 200


def test_a_body_that_does_not_end_is_not_waited_for(
    agent: Agent, connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is ended, and why is said."""
    monkeypatch.setattr(request, "BODY_SECONDS", 0.1)
    connection.sendall(_request(agent, wire.encode(agent.report()))[:-1])
    assert _answer(connection)[0] == 408
    assert connection.recv(1) == b""


def test_who_does_not_wait_for_the_answer_has_to_come_again(agent: Agent, connection: socket.socket) -> None:
    """A request behind one that is being written is not taken: the answer to the first ends the connection."""
    connection.sendall(_request(agent, wire.encode(agent.report())))
    assert _answer(connection)[0] == 200
    agent.time.at += 1_000_000
    second = _request(agent, wire.encode(agent.report()))
    connection.sendall(second + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    status, headers, _ = _answer(connection)
    assert (status, headers["connection"]) == (200, "close")
    assert connection.recv(1) == b""


def test_a_connection_ends_when_it_is_asked_to(agent: Agent, connection: socket.socket) -> None:
    """`Connection: close` is heard."""
    connection.sendall(_request(agent, wire.encode(agent.report())))
    assert _answer(connection)[0] == 200
    agent.time.at += 1_000_000
    connection.sendall(_request(agent, wire.encode(agent.report()), connection="close"))
    status, headers, _ = _answer(connection)
    assert (status, headers["connection"]) == (200, "close")
    assert connection.recv(1) == b""
