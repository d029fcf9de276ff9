"""The agent for this machine, as a child process."""

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import typer

from gpufleet_server.cli.errors import NO_DRIVER, CliError
from gpufleet_server.cli.local import Local, running

_CHECK_SECONDS = 15
_AGAIN_SECONDS = 2.0
_END_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Driver:
    """Whether this machine has a driver, and what the agent says of it."""

    present: bool
    text: str


def agent_program() -> str:
    """The agent that was installed with this server, else the one on the path. CliError where there is none."""
    beside = Path(sys.executable).with_name("gpufleet-agent")
    found = str(beside) if beside.exists() else shutil.which("gpufleet-agent")
    if found is None:
        raise CliError("gpufleet-agent is not installed here: pip install gpufleet-agent")
    return found


def look_for_driver() -> Driver:
    """Ask the agent. A driver that doesn't answer in time is a driver all the same."""
    command = [agent_program(), "check", "--json", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Driver(True, "the driver does not answer")
    if done.returncode not in (0, 1, NO_DRIVER):
        raise CliError(f"gpufleet-agent check failed: {done.stderr.strip() or f'status {done.returncode}'}")
    try:
        findings = {finding["subject"]: finding["text"] for finding in json.loads(done.stdout)["findings"]}
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(f"gpufleet-agent check said something that can't be understood: {error!r}") from error
    return Driver(done.returncode != NO_DRIVER, str(findings.get("driver", "")).removeprefix("absent: "))


@contextlib.asynccontextmanager
async def agent(local: Local, interval: str) -> AsyncIterator[None]:
    """The agent runs while the block does; it is started again where it ends by itself."""
    async with running(_keep(local, interval)):
        yield


async def _keep(local: Local, interval: str) -> None:
    log = local.folder / "agent.log"
    while True:
        child = await _start(local, interval, log)
        try:
            status = await child.wait()
        except asyncio.CancelledError:
            await _end(child)
            raise
        typer.echo(f"the agent ended with status {status}: {_last_line(log)}; it is started again", err=True)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _start(local: Local, interval: str, log: Path) -> asyncio.subprocess.Process:
    command = [agent_program(), "run", "--server", local.url, "--interval", interval]
    command += ["--state-dir", str(local.folder / "agent")]
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *command,
            # Arguments can be seen by other users, the environment can't.
            env=os.environ | {"GPUFLEET_AGENT_TOKEN": local.join_token},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # Ctrl-C is for this process alone: the agent is ended while the server still takes its last report.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


# Looked up beforehand: a fork beside running threads must not load libraries.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """In the child: have the kernel end it where this process is killed."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _end(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="replace").splitlines()
        return lines[-1][:300] if lines else "it said nothing"
    return f"see {log}"
