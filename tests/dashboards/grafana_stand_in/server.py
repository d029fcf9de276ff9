"""The stand-in as a server: on a socket of its own, in a thread."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from tests.dashboards.grafana_stand_in.api import Api
from tests.dashboards.grafana_stand_in.faults import Faults, before
from tests.dashboards.grafana_stand_in.people import People
from tests.dashboards.grafana_stand_in.roles import ADMIN
from tests.dashboards.grafana_stand_in.state import State

# Recognisable, so that a test can look for it where it must not be.
TOKEN = "glsa_secret-of-the-tests"


@dataclass(frozen=True)
class StandIn:
    """A stand-in that serves at `url`; `token` is an admin's."""

    url: str
    state: State
    api: Api
    faults: Faults
    people: People
    token: str = TOKEN


@contextlib.contextmanager
def serving(version: str = "13.3.0", tls: Path | None = None) -> Iterator[StandIn]:
    """A fresh stand-in, until left. `tls`: key and certificate of localhost, with which it speaks TLS."""
    state, faults = State(), Faults()
    api = Api(state, {TOKEN: ("sa-gpufleet", ADMIN)}, version)
    config = uvicorn.Config(
        before(api.app, faults),
        log_config=None,
        log_level="critical",
        lifespan="off",
        ssl_certfile=str(tls) if tls else None,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="grafana-stand-in")
        thread.start()
        try:
            url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
            yield StandIn(url, state, api, faults, People(state))
        finally:
            server.should_exit = True
            thread.join()
