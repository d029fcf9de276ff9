"""`gpufleet demo`: a simulated fleet, to look around in."""

import contextlib
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.serve import Listen
from gpufleet_server.cli.settings import DEFAULT_LISTEN, address, data_folder

if TYPE_CHECKING:
    from gpufleet_server.cli.local import Local
    from gpufleet_server.simulate.fleet import Fleet
    from gpufleet_server.simulate.plan import SimNode


def demo(
    gpus: Annotated[int, typer.Option(min=1, max=100_000, help="How many GPUs the fleet has.")] = 64,
    interval: Annotated[str, typer.Option(metavar="TIME", help="Time between samples, 1s to 300s.")] = "10s",
    seed: Annotated[int, typer.Option(min=0, help="Another number, another fleet; the same, the same again.")] = 1,
    faults: Annotated[bool, typer.Option(help="Let GPUs and nodes fail.")] = True,
    keep: Annotated[bool, typer.Option(help="Go on with the data of the last time.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where it is kept; else `demo` in the XDG data folder.")
    ] = None,
    listen: Listen = DEFAULT_LISTEN,
) -> None:
    """Serve a simulated fleet over many nodes, sites and models, with faults, until Ctrl-C.

    It has a folder of its own and begins anew each time. All of it is marked [bold]simulated[/bold] everywhere.
    """
    from gpufleet_server.cli import local
    from gpufleet_server.simulate.agent import now
    from gpufleet_server.simulate.plan import fleet

    every, where = interval_ms(interval), address(listen)
    folder = (data_dir or data_folder() / "demo").absolute()
    nodes = fleet(seed, gpus, now(), faults=faults)

    @contextlib.asynccontextmanager
    async def reporting(served: "Local") -> AsyncIterator[None]:
        async with reporting_fleet(nodes, served, every) as it:
            _tell(served, nodes)
            async with local.running(_show_progress(it)):
                yield

    with local.held(folder):
        if not keep:
            _clear(folder)
        local.run(folder, where, reporting)


def interval_ms(text: str) -> int:
    """The ms of `--interval`. CliError where it is no length from 1 s to 300 s."""
    from gpufleet_server.cli.times import length

    micros = length(text, "--interval")
    if not 1_000_000 <= micros <= 300_000_000:
        raise CliError(f"--interval {text!r} is not 1s to 300s", 2)
    return micros // 1000


@contextlib.asynccontextmanager
async def reporting_fleet(nodes: "Sequence[SimNode]", served: "Local", interval: int) -> "AsyncIterator[Fleet]":
    """A simulated fleet reports while the block runs."""
    from gpufleet_server.cli.local import running
    from gpufleet_server.simulate.fleet import Fleet

    it = Fleet(nodes, served.url, served.join_token, interval=interval)
    async with running(it.run()):
        yield it


def _clear(folder: Path) -> None:
    """Remove what a demo left: only its own files, whatever else the folder holds."""
    try:
        for path in (*folder.glob("gpufleet.db*"), folder / "reader-token"):
            path.unlink(missing_ok=True)
        shutil.rmtree(folder / "agent", ignore_errors=True)
    except OSError as error:
        raise CliError(f"can't remove {error.filename}: {error.strerror}") from error


def _tell(served: "Local", nodes: "Sequence[SimNode]") -> None:
    from gpufleet_server.cli.local import program, short

    gpus, sites = sum(node.count for node in nodes), len({node.site for node in nodes})
    typer.echo(f"A simulated fleet: {gpus} GPUs on {len(nodes)} nodes at {sites} sites.")
    typer.echo(f"Serving {served.url}, data in {short(served.folder)}.")
    name = program()
    typer.echo(f"In another terminal: `{name} summary`, `{name} top`, `{name} events --follow`. Ctrl-C ends this.")


async def _show_progress(it: "Fleet") -> None:
    """A line on the terminal that says what the server has committed."""
    if not sys.stderr.isatty():
        return
    import asyncio

    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True, highlight=False), auto_refresh=False, transient=True) as line:
        while True:
            line.update(_progress(it), refresh=True)
            await asyncio.sleep(1)


def _progress(it: "Fleet") -> str:
    from gpufleet_server.cli.units import number

    tally = it.tally()
    return (
        f"committed: {number(tally.reports)} reports, {number(tally.samples)} samples, {number(tally.events)} events; "
        f"{number(tally.waiting)} reports wait"
    )
