"""The port for scrapes: what it serves, and that no client keeps it from the others."""

import select
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from gpufleet_agent import listener as listener_module
from gpufleet_agent.listener import MOST_CLIENTS, Listener
from gpufleet_agent.runtime.clock import monotonic

from tests.agent.process import until

PAGE = b"gpufleet_agent_build_info 1\n" * 200_000


def work(listener: Listener, stop: threading.Event) -> None:
    """Do what the agent's loop does."""
    while not stop.is_set():
        select.select(listener.readers, listener.writers, [], min(0.02, max(0.0, listener.due - monotonic())))
        listener.tend()


@contextmanager
def answering() -> Iterator[int]:
    """The port of a listener that answers."""
    listener, stop = Listener(("127.0.0.1", 0), lambda: PAGE), threading.Event()
    thread = threading.Thread(target=work, args=(listener, stop))
    thread.start()
    try:
        yield listener.port
    finally:
        stop.set()
        thread.join()
        listener.close()


def scrape(port: int) -> bytes:
    """What Prometheus would get."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics?x=1", timeout=5) as answer:
        assert answer.headers.get_content_type() == "text/plain"
        body: bytes = answer.read()
        return body


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.0", b"200"),
        (b"GET /etc/passwd HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"\x16\x03\x01", b"400"),
        (b"GET /" + b"a" * 9000, b"431"),
    ],
)
def test_the_port_serves_metrics_and_nothing_else(request_line: bytes, status: bytes) -> None:
    """Every other request is told what is wrong with it."""
    with answering() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(request_line)
        if status != b"431":
            client.sendall(b"\r\n\r\n")
        assert client.recv(1000).split()[1] == status


def test_a_page_that_does_not_fit_into_the_buffers_arrives_whole() -> None:
    """A scrape is sent piece by piece as its client takes it."""
    with answering() as port:
        assert scrape(port) == PAGE


def test_silent_clients_do_not_hold_up_a_scrape() -> None:
    """Clients that send nothing, half a request, or do not read: the next one is answered at once."""
    with answering() as port:
        clients = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(2 * MOST_CLIENTS)]
        for number, client in enumerate(clients[-MOST_CLIENTS // 2 :]):
            client.sendall((b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n\r\n")[number % 3])
        began = monotonic()
        assert scrape(port) == PAGE
        assert monotonic() - began < 4
        for client in clients:
            client.close()


def test_a_client_that_drips_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then buys no more time."""
    monkeypatch.setattr(listener_module, "CLIENT_SECONDS", 0.2)
    with answering() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as client:

        def refused() -> bool:
            try:
                client.sendall(b"G")
            except OSError:
                return True
            return False

        until(refused, 3)
