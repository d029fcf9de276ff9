"""Ports for servers of tests."""

import socket

import pytest

from tests import ports
from tests.ports import free_port


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is free when it is given; nobody else gets it, also while no server listens there."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        pass
    monkeypatch.setattr(ports, "_PORTS", [port])
    with pytest.raises(RuntimeError, match="none of 200 ports"):
        free_port()


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(ports, "_PORTS", [taken.getsockname()[1]])
        with pytest.raises(RuntimeError, match="none of 200 ports"):
            free_port()
