"""A server that wants certificates of its clients, and agents with and without one."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_agent.runtime.push import Link, Unreachable
from gpufleet_agent.runtime.trust import Trust
from gpufleet_server.app import create_app
from gpufleet_server.cli import hosting
from gpufleet_server.cli.errors import CliError

from tests.agent.runtime.test_trust import CERTIFICATE
from tests.e2e.stack import wait_for
from tests.server.ingest.agents import opened


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[str]:
    """The URL of the server as `gpufleet serve --tls-client-ca` configures it."""
    with opened(tmp_path) as store, socket.create_server(("127.0.0.1", 0)) as listener:
        server = hosting.configured(create_app(store), CERTIFICATE, CERTIFICATE, CERTIFICATE)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_for("the server", lambda: server.started)
        yield f"https://localhost:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(60)


def test_only_who_shows_a_certificate_is_let_in(strict: str) -> None:
    """With one the agent gets its answer, without it no connection."""
    link = Link(strict, Trust(CERTIFICATE, CERTIFICATE))
    assert link.get("/healthz").status == 200
    link.close()
    with pytest.raises(Unreachable, match=r"(?i)certificate.required|reset|eof|alert|closed"):
        Link(strict, Trust(CERTIFICATE)).get("/healthz")


def test_authorities_that_are_none_are_told(tmp_path: Path) -> None:
    """A file without a certificate is named before anything is served."""
    nothing = tmp_path / "ca.pem"
    nothing.write_text("nothing")
    with opened(tmp_path) as store, pytest.raises(CliError, match=str(nothing)):
        hosting.configured(create_app(store), CERTIFICATE, CERTIFICATE, nothing)
