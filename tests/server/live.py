"""A server on a real socket in this process, for what happens below HTTP."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_server.app import create_app
from gpufleet_server.cli import hosting
from gpufleet_server.store.engine import Store

from tests.server.ingest.agents import Time, opened


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int, Store]]:
    """A server on a real socket, and its store."""
    with opened(tmp_path) as store, socket.create_server(("127.0.0.1", 0)) as listener:
        server = hosting.configured(create_app(store, now=Time()))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield (*listener.getsockname(), store)
        server.should_exit = True
        thread.join(60)
