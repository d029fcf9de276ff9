"""`gpufleet up`: this machine, served by one command."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufleet_server.cli.serve import Listen
from gpufleet_server.cli.settings import DEFAULT_LISTEN, address, data_folder

if TYPE_CHECKING:
    from gpufleet_server.cli.agent_process import Driver
    from gpufleet_server.cli.local import Local

_SIMULATED_GPUS = 8

DataDir = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where everything is kept; else a folder in the XDG data folder."),
]
Interval = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Time between samples, 1s to 300s; a report goes out every 10 s or, if that is longer, every interval.",
    ),
]


def up(
    data_dir: DataDir = None,
    listen: Listen = DEFAULT_LISTEN,
    interval: Interval = "10s",
    simulate: Annotated[
        bool, typer.Option(help="Where there is no driver, show 8 simulated GPUs in a folder of their own.")
    ] = True,
) -> None:
    """Serve this machine: a server and an agent in one command, until Ctrl-C.

    Commands such as [bold]gpufleet gpus[/bold] then read this server without further settings.
    """
    from gpufleet_server.cli import local
    from gpufleet_server.cli.agent_process import look_for_driver
    from gpufleet_server.cli.demo import interval_ms

    every, where = interval_ms(interval), address(listen)
    folder = (data_dir or data_folder()).absolute()
    driver = look_for_driver()
    simulated = simulate and not driver.present

    @contextlib.asynccontextmanager
    async def reporting(served: "Local") -> AsyncIterator[None]:
        async with _simulated(served, every) if simulated else _real(served, every):
            _tell(served, driver, simulated=simulated)
            yield

    place = folder / "simulated" if simulated else folder
    with local.held(place):
        local.run(place, where, reporting)


@contextlib.asynccontextmanager
async def _real(served: "Local", interval: int) -> AsyncIterator[None]:
    from gpufleet_server.cli.agent_process import agent

    async with agent(served, f"{interval}ms"):
        yield


@contextlib.asynccontextmanager
async def _simulated(served: "Local", interval: int) -> AsyncIterator[None]:
    from gpufleet_server.cli.demo import reporting_fleet
    from gpufleet_server.simulate.plan import single_node

    nodes = [single_node(seed=1, gpus=_SIMULATED_GPUS, hostname="simulated-node")]
    async with reporting_fleet(nodes, served, interval):
        yield


def _brief(text: str) -> str:
    # Without a driver there is nothing to explain; every other reason is told in full.
    found, _, rest = text.partition(": ")
    return found if "not found" in found else text if rest else found


def _tell(served: "Local", driver: "Driver", *, simulated: bool) -> None:
    from gpufleet_server.cli.local import program, short

    if simulated:
        typer.echo(f"No GPU driver here ({_brief(driver.text)}): showing {_SIMULATED_GPUS} simulated GPUs.")
    elif driver.present:
        typer.echo(f"Driver: {driver.text}.")
    else:
        typer.echo(f"No GPU driver here ({_brief(driver.text)}): the agent keeps looking for one.")
    typer.echo(f"Serving {served.url}, data in {short(served.folder)}.")
    name = program()
    typer.echo(f"In another terminal: `{name} gpus`, `{name} top`, `{name} events --follow`. Ctrl-C ends this.")
