"""A server in this process on a folder of this machine, with something that reports to it."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from gpufleet_server.alerts.service import Settings
from gpufleet_server.app import create_app
from gpufleet_server.cli import hosting
from gpufleet_server.cli.database import opened
from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.settings import Access, database_in, keep_access, write_private
from gpufleet_server.domain import clock
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store

_JOIN_FOR = 24 * 3600 * clock.SECOND


@dataclass(frozen=True, slots=True)
class Local:
    """A server that runs here: its URL, its folder, and a token with which agents join."""

    url: str
    folder: Path
    join_token: str


Reporting = Callable[[Local], AbstractAsyncContextManager[None]]


def run(folder: Path, listen: tuple[str, int], reporting: Reporting) -> None:
    """Serve a folder until a signal comes. `reporting` runs within: it begins last and ends first."""
    hosting.log_to_stderr("warning")
    with hosting.listen(*listen) as listening, opened(database_in(folder), upgrade=True) as store:
        server = hosting.configured(create_app(store, alerts=Settings()))
        local = Local(hosting.url_of(listening), folder, _join_token(store))
        _leave_access(local.url, folder, store)
        hosting.run(_serve(server, listening, local, reporting))
    typer.echo("Stopped.")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is this process' alone. CliError where another has it, or it can't be used."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CliError(f"can't use {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CliError(f"another gpufleet runs on {folder}; end that one, or give --data-dir another") from None
    else:
        yield
    finally:
        os.close(lock)


async def _serve(server: hosting.Server, listening: socket.socket, local: Local, reporting: Reporting) -> None:
    stop = hosting.stopped_by_signals()
    async with hosting.serving(server, listening, stop), reporting(local):
        await stop.wait()


def _join_token(store: Store) -> str:
    with store.writing() as connection:
        now = clock.now()
        for row in tokens.listing(connection):
            if row.kind is TokenKind.JOIN and row.name == "this machine" and row.good(now):
                tokens.revoke(connection, row.id)
        return tokens.create(connection, TokenKind.JOIN, "this machine", now + _JOIN_FOR)[1]


def _leave_access(url: str, folder: Path, store: Store) -> None:
    """Let the commands of this user read this server. The token is kept beside the data for the next time."""
    kept = folder / "reader-token"
    try:
        text = kept.read_text().strip() if kept.exists() else ""
        with store.writing() as connection:
            found = tokens.find(connection, text, clock.now())
            if found is None or found.kind is not TokenKind.READER:
                text = tokens.create(connection, TokenKind.READER, "this machine")[1]
        write_private(kept, text + "\n")
        keep_access(Access(url, text))
    except OSError as error:
        raise CliError(f"can't write {error.filename}: {error.strerror}") from error


def program() -> str:
    """How to call this program from the same terminal."""
    called = Path(sys.argv[0]).absolute()
    found = shutil.which("gpufleet")
    if (found and Path(found).absolute() == called) or called.name != "gpufleet":
        return "gpufleet"
    here = Path.cwd()
    return str(called.relative_to(here)) if called.is_relative_to(here) else str(called)


def short(path: Path) -> str:
    """A path with `~` for the home folder."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The work goes on while the block runs, and is cancelled at its end. Where the work fails the block does too."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            try:
                yield
            finally:
                task.cancel()
    except* CliError as group_of_one:
        raise group_of_one.exceptions[0] from None
