"""A socket in the state folder where the running agent is told to pause, to resume, or to say how it stands."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gpufleet_agent.runtime.clock import monotonic
from gpufleet_agent.runtime.pause import Pause
from gpufleet_agent.wire import Backlog, Driver
from gpufleet_agent.wire.inventory import NO_NUL

SOCKET = "control.sock"
CLIENT_SECONDS = 5.0
_MOST_CLIENTS, _MOST_BYTES = 16, 4096
_CREDENTIALS = struct.Struct("3i")


class Ask(Struct, omit_defaults=True):
    """One line of JSON to the agent. `reason` and `seconds` (None: until told otherwise) are a pause's."""

    command: Literal["pause", "resume", "status"]
    reason: Annotated[str, Meta(max_length=200, pattern=NO_NUL)] = ""
    seconds: Annotated[float, Meta(gt=0, le=366 * 86400)] | None = None


class Standing(Struct, kw_only=True):
    """How an agent stands. `pid` and `reader` are processes, `reader` 0 where none reads; times in µs (epoch).

    `trouble` says why the server does not get its reports, empty where it does.
    """

    version: str
    node: str
    pid: int
    reader: int
    driver: Driver | None
    pause: Pause | None
    sampled_at: int | None
    server: str | None
    trouble: str
    backlog: Backlog


class Answer(Struct):
    """One line of JSON back. `problem` says why it was not done, `note` what else there is to know."""

    done: bool
    standing: Standing | None = None
    problem: str = ""
    note: str = ""


class NoAgent(Exception):
    """There is nobody to ask; the text says why."""


@dataclass(eq=False)
class Caller:
    """One connection: what came of its line so far, and until when (monotonic) it may take to send the rest."""

    sock: socket.socket
    until: float
    line: bytes = b""


class Control:
    """The agent's end. Never blocks; who asks is answered when the agent is ready to."""

    def __init__(self, folder: int) -> None:
        """Listen in the state folder (its descriptor), which is ours alone. OSError where that can't be."""
        self._folder = folder
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET, dir_fd=folder)  # of an agent that was killed
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._server.bind(_address(folder))
            os.chmod(SOCKET, 0o600, dir_fd=folder)
            self._server.listen(_MOST_CLIENTS)
        except OSError:
            self._server.close()
            raise
        self._callers: list[Caller] = []

    @property
    def readers(self) -> list[int]:
        """Descriptors to wait on until they can be read."""
        callers = [caller.sock.fileno() for caller in self._callers]
        # Whoever comes while there is no room waits, and wakes nobody.
        return callers if len(callers) >= _MOST_CLIENTS else [self._server.fileno(), *callers]

    @property
    def due(self) -> float:
        """When `tend` is wanted at the latest (monotonic seconds)."""
        return min((caller.until for caller in self._callers), default=float("inf"))

    def tend(self) -> list[tuple[Caller, Ask]]:
        """Let in who came, and give what they ask; each is to be answered, however long that takes."""
        self._accept()
        asked = []
        for caller in list(self._callers):
            try:
                ask = _read(caller)
            except (OSError, ValueError, RecursionError) as error:
                self._callers.remove(caller)
                self.answer(caller, Answer(False, problem=f"the agent does not understand: {error}"))
                continue
            if ask is not None:
                self._callers.remove(caller)
                asked.append((caller, ask))
        return asked

    def answer(self, caller: Caller, answer: Answer) -> None:
        """Say it, and let go of the caller; one that has gone is no error."""
        with contextlib.suppress(OSError):
            caller.sock.sendall(msgspec.json.encode(answer) + b"\n")
        caller.sock.close()

    def close(self) -> None:
        """Nobody can ask any more."""
        for caller in self._callers:
            caller.sock.close()
        self._server.close()
        with contextlib.suppress(OSError):
            os.unlink(SOCKET, dir_fd=self._folder)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # nobody more, or gone already
            while len(self._callers) < _MOST_CLIENTS:
                sock, _ = self._server.accept()
                sock.setblocking(False)
                self._callers.append(Caller(sock, monotonic() + CLIENT_SECONDS))


def _read(caller: Caller) -> Ask | None:
    """What is asked; None while the line is not whole. OSError or ValueError where nothing will come of it."""
    try:
        data = caller.sock.recv(_MOST_BYTES)
    except BlockingIOError:
        if monotonic() >= caller.until:
            raise ValueError("nothing was asked") from None
        return None
    caller.line += data
    if not data or len(caller.line) > _MOST_BYTES:
        raise ValueError("expected one line")
    if not caller.line.endswith(b"\n"):
        return None
    _, user, _ = _CREDENTIALS.unpack(caller.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if user not in (0, os.geteuid()):
        raise ValueError("only root and the agent's own user may ask")
    # msgspec's errors are ValueErrors.
    return msgspec.json.decode(caller.line, type=Ask)


def ask(folder: Path, asked: Ask, seconds: float) -> Answer:
    """Ask the agent of a state folder, and wait for its answer. NoAgent, or TimeoutError after `seconds`."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NoAgent(_told(folder, error)) from None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(seconds)
            sock.connect(_address(descriptor))
            sock.sendall(msgspec.json.encode(asked) + b"\n")
            with sock.makefile("rb") as file:
                line = file.readline()
    except TimeoutError:
        raise
    except OSError as error:
        raise NoAgent(_told(folder, error)) from None
    finally:
        os.close(descriptor)
    if not line:
        raise NoAgent(f"{folder}: the agent ended before it answered")
    try:
        return msgspec.json.decode(line, type=Answer)
    except ValueError as error:
        raise NoAgent(f"{folder}: the agent answers something unreadable: {error}") from None


def _told(folder: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{folder}: {error.strerror}: run this as root, or as the agent's user"
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
        return f"{folder}: no agent runs with this state folder (--state-dir, --config)"
    return f"{folder}: the agent cannot be reached: {error.strerror}"


def _address(folder: int) -> str:
    # The folder's own path may be longer than an address may be.
    return f"/proc/self/fd/{folder}/{SOCKET}"
