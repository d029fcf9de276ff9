"""Runs the server in this process: its socket, its log, its end."""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.protocol import BoundedProtocol
from gpufleet_server.cli.reports import ReportProtocol

# Longer than the agents' usual time between reports, so that their connections are kept.
_KEEP_ALIVE = 75
_GRACE = 10


class Server(uvicorn.Server):
    """uvicorn, with the signals left to whoever runs it. `tried` is set once it is up, or can't be."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.tried = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        try:
            await super().startup(sockets)
        except SystemExit:
            # The app could not start, which is logged. Whoever runs the server says how the program ends.
            self.should_exit = True
        finally:
            self.tried.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals be."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. CliError says why it can't, such as a port in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        hint = "; does another gpufleet run? --listen takes another port" if _in_use(error) else ""
        reason = "the port is in use" if _in_use(error) else getattr(error, "strerror", None) or str(error)
        raise CliError(f"can't listen on {host}:{port}: {reason}{hint}") from error


def url_of(listening: socket.socket, *, tls: bool = False) -> str:
    """The URL at which this machine reaches a socket."""
    host, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
    shown = f"[{address}]" if address.version == 6 else str(address)
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def configured(
    app: Starlette, certificate: Path | None = None, key: Path | None = None, client_ca: Path | None = None
) -> Server:
    """A server for an app; with `client_ca` for those only whose certificate that has signed.

    CliError where a certificate or key can't be used.
    """
    config = uvicorn.Config(
        app,
        http=_protocol(app),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_ca_certs=str(client_ca) if client_ca else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        clients = f", or {client_ca} for those of clients" if client_ca else ""
        raise CliError(f"can't use the certificate {certificate} with the key {key}{clients}: {error}") from error
    return Server(config)


def _protocol(app: Starlette) -> type[BoundedProtocol]:
    """What speaks HTTP for an app; where that takes reports, with the short way for them."""
    reports = getattr(app.state, "reports", None)
    return BoundedProtocol if reports is None else type("Protocol", (ReportProtocol,), {"reports": reports})


@contextlib.asynccontextmanager
async def serving(server: Server, listening: socket.socket, stop: asyncio.Event) -> AsyncIterator[None]:
    """The server runs while the block does; it sets `stop` if it ends by itself. CliError where it can't start."""
    task = asyncio.create_task(server.serve(sockets=[listening]))
    task.add_done_callback(lambda _: stop.set())
    try:
        await server.tried.wait()
        if not server.started:
            raise CliError("the server could not start; its log above says why")
        _spare_the_collector()
        yield
    finally:
        server.should_exit = True
        await task


def _spare_the_collector() -> None:
    """Leave what the start has made, which stays, out of garbage collections, and make those of the rest rarer."""
    gc.collect()
    gc.freeze()
    # A page of 1,000 GPUs makes 100,000 objects, of which none is garbage in a cycle.
    gc.set_threshold(50_000, 20, 50)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it to its end on the quickest event loop there is."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def stopped_by_signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def log_to_stderr(level: str) -> None:
    """One line a message on stderr."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # What uvicorn, httpx and Alembic find worth saying at `info` is of no use to an operator.
    if level != "debug":
        for name in ("uvicorn", "httpx", "alembic"):
            logging.getLogger(name).setLevel("WARNING")


def _in_use(error: Exception) -> bool:
    import errno

    return isinstance(error, OSError) and error.errno == errno.EADDRINUSE
