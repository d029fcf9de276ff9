"""`gpufleet simulate`: thousands of simulated agents that report to a server over HTTP."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli.demo import interval_ms
from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    import asyncio
    import ssl

    from gpufleet_server.cli.progress import Progress
    from gpufleet_server.simulate.fleet import Fleet

_FLEET, _LOAD, _SHOW = "Fleet", "Load", "Output"

Server = Annotated[
    str | None, typer.Option(metavar="URL", envvar="GPUFLEET_SERVER", help="The server to report to, such as https://…")
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        envvar="GPUFLEET_AGENT_TOKEN",
        help="A join token. Better in the environment: other users can see arguments.",
    ),
]
Share = Annotated[
    float, typer.Option(min=0, max=1, metavar="SHARE", rich_help_panel=_LOAD, help="Agents that begin with a backlog.")
]


def _time(panel: str, help: str) -> Any:
    return typer.Option(metavar="TIME", rich_help_panel=panel, help=help)


def simulate(
    server: Server = None,
    token: Token = None,
    ca_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Trust this CA for https, PEM.")] = None,
    credentials: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the agents' credentials here, so that they enrol once.")
    ] = None,
    agents: Annotated[int, typer.Option(min=1, max=200_000, rich_help_panel=_FLEET, help="How many nodes.")] = 100,
    gpus_per_node: Annotated[int, typer.Option(min=1, max=64, rich_help_panel=_FLEET, help="GPUs of each.")] = 8,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=_FLEET, help="Another number, another fleet.")] = 1,
    faults: Annotated[bool, typer.Option(rich_help_panel=_FLEET, help="Let GPUs and nodes fail.")] = True,
    usage: Annotated[bool, typer.Option(rich_help_panel=_FLEET, help="Tell who uses the GPUs.")] = True,
    interval: Annotated[str, _time(_LOAD, "Time between samples, 1s to 300s.")] = "10s",
    every: Annotated[str | None, _time(_LOAD, "Time between an agent's reports; else 10s or --interval.")] = None,
    ramp: Annotated[
        str | None, _time(_LOAD, "Time from the first agent's start to the last one's; else --every.")
    ] = None,
    duration: Annotated[str | None, _time(_LOAD, "How long to report; else until Ctrl-C.")] = None,
    grace: Annotated[str, _time(_LOAD, "How long to go on at the end with what waits.")] = "30s",
    connections: Annotated[int, typer.Option(min=1, max=60_000, rich_help_panel=_LOAD, help="At most at once.")] = 512,
    offline: Share = 0.0,
    backlog: Annotated[str, _time(_LOAD, "What those agents could not send before.")] = "1d",
    json: Annotated[bool, typer.Option("--json", rich_help_panel=_SHOW, help="Print a JSON object a line.")] = False,
    report_every: Annotated[str, _time(_SHOW, "Time between two such lines.")] = "10s",
) -> None:
    """Report as many simulated agents do: to try a server, or to measure one.

    Each agent is a node of its own: it enrols, tells what it is, and reports samples, states and events of its GPUs as
    a real agent does, over connections that all share. All of it is marked [bold]simulated[/bold]. At the end what
    waits is sent; the exit status is 1 where a report was dropped or is not committed.
    """
    from gpufleet_server.cli import hosting
    from gpufleet_server.cli.progress import Progress
    from gpufleet_server.simulate.agent import now
    from gpufleet_server.simulate.fleet import Fleet
    from gpufleet_server.simulate.plan import fleet_of

    step = interval_ms(interval)
    period = max(step, 10_000) if every is None else _ms(every, "--every", step, 3_600_000)
    seconds = None if duration is None else _ms(duration, "--duration", 1, 10**12) / 1000
    shown = _ms(report_every, "--report-every", 100, 10**9) / 1000
    url, secret = _server(server), _join_token(token)
    hosting.log_to_stderr("warning")
    known = _known(credentials)
    nodes = fleet_of(seed, agents, gpus_per_node, now(), faults=faults)
    it = Fleet(
        nodes, url, secret, interval=step, every=period, tls=_tls(url, ca_file), connections=connections,
        spread=_ramp(ramp, agents, period), offline=offline, backlog=_ms(backlog, "--backlog", 0, 10**11) / 1000,
        credentials=known, usage=usage,
    )  # fmt: skip
    progress = Progress(it, agents, agents * gpus_per_node, as_json=json)
    try:
        hosting.run(_simulate(it, progress, seconds, shown, _ms(grace, "--grace", 0, 10**9) / 1000))
    finally:
        _keep(credentials, known)
    if progress.incomplete:
        raise CliError(progress.incomplete)


def _ramp(ramp: str | None, agents: int, period: int) -> float:
    return min(0.1 * agents, period / 1000) if ramp is None else _ms(ramp, "--ramp", 0, 10**8) / 1000


def _ms(text: str, option: str, least: int, most: int) -> int:
    """The ms of a length of time. CliError where it is none, or out of bounds (ms)."""
    from gpufleet_server.cli.times import length

    ms = length(text, option) // 1000
    if not least <= ms <= most:
        raise CliError(f"{option} {text!r} is not {least / 1000:g}s to {most / 1000:g}s", 2)
    return ms


def _server(server: str | None) -> str:
    from urllib.parse import urlsplit

    if not server:
        raise CliError("which server? Give --server URL (or set GPUFLEET_SERVER)", 2)
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CliError(f"--server {server!r} is no URL, such as http://127.0.0.1:8478", 2)
    return server


def _join_token(token: str | None) -> str:
    if not token:
        raise CliError(
            "agents need a join token: give --token (or set GPUFLEET_AGENT_TOKEN); "
            "`gpufleet token create --kind join --name simulation` makes one", 2,
        )  # fmt: skip
    return token


def _known(file: Path | None) -> dict[str, str]:
    """The credentials in a file, by node. CliError where it holds something else."""
    import msgspec

    if file is None or not file.exists():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError) as error:
        raise CliError(f"can't read credentials from {file}: {error}", 2) from error


def _keep(file: Path | None, credentials: dict[str, str]) -> None:
    import msgspec

    from gpufleet_server.cli.settings import write_private

    if file is not None:
        try:
            write_private(file, msgspec.json.encode(credentials).decode())
        except OSError as error:
            raise CliError(f"can't keep credentials in {file}: {error.strerror}") from error


def _tls(url: str, ca_file: Path | None) -> "ssl.SSLContext | None":
    if not url.startswith("https:"):
        return None
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise CliError(f"can't use the CA file {ca_file}: {error}", 2) from error


async def _simulate(it: "Fleet", progress: "Progress", seconds: float | None, shown: float, grace: float) -> None:
    import asyncio
    import gc

    from gpufleet_server.cli import hosting

    stop, signalled = asyncio.Event(), hosting.stopped_by_signals()
    it.begin()
    # What was made so far stays: to look through it for garbage would hold up everything, again and again.
    gc.collect()
    gc.freeze()
    progress.start()
    telling, running = asyncio.create_task(_tell(progress, shown, stop)), asyncio.create_task(it.run(stop))
    tasks = [telling, running]
    try:
        await _ended(signalled, *tasks, seconds=seconds)
        stop.set()
        if not telling.done():
            await running
            # Another signal ends it at once.
            signalled.clear()
            tasks.append(asyncio.create_task(it.flush(grace)))
            await _ended(signalled, tasks[-1])
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        progress.show(final=True)
    for failure in results:
        if isinstance(failure, Exception):
            raise failure


async def _ended(signalled: "asyncio.Event", *tasks: "asyncio.Task[None]", seconds: float | None = None) -> None:
    """Wait for a signal, for the end of one of the tasks, or for some seconds."""
    import asyncio

    waiting = asyncio.create_task(signalled.wait())
    await asyncio.wait([waiting, *tasks], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


async def _tell(progress: "Progress", every: float, stop: "asyncio.Event") -> None:
    """Show how it goes now and then. CliError where the server refuses the join token from the start."""
    import asyncio

    live = sys.stderr.isatty() and not progress.as_json
    while True:
        await asyncio.sleep(1 if live else every)
        progress.show()
        if progress.refused and not stop.is_set():
            raise CliError(f"the server refuses the join token: {progress.refused}")
