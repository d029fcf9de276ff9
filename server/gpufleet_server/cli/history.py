"""`gpufleet history | use | quantiles`: the fleet, a GPU or a partition over time, its use, how values are spread."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_server.cli.render import Column

Item = dict[str, Any]
_BY = ("site", "model")
_BY_USE = (*_BY, "use")
_WHOLE = "fleet"

Metric = Annotated[str, typer.Option(metavar="METRIC", help="Such as gpu_utilization, power, energy or fb_used.")]
By = Annotated[str | None, typer.Option(metavar="WHAT", help="A column for each site, model or use.")]
ByPlace = Annotated[str | None, typer.Option(metavar="WHAT", help="A row for each site or model.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="From when: a length ago such as 24h or 30d, ISO 8601, or epoch seconds; a day before --until without it.",
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Until when; now without it.")]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of a server: of which part of the fleet, and whether its answer is shown as it comes."""

    path: str
    given: Item
    site: list[str] | None
    model: list[str] | None
    json: bool

    @property
    def narrowed(self) -> bool:
        return bool(self.site or self.model)


def history(
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="A GPU, as [bold]gpufleet gpu[/bold] takes it, or a partition's UUID; the whole fleet without it.",
        ),
    ] = None,
    metric: Metric = "gpu_utilization",
    by: By = None,
    since: Since = None,
    until: Until = None,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH", help="A row for each such time, cut in UTC: 5m or 1h; of the fleet whole minutes."
        ),
    ] = None,
    site: options.Sites = None,
    model: options.Models = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """A metric of the fleet, a GPU or a partition over time: means weighted by time, energy and bytes as totals."""
    if id is not None:
        _no_parts(by, site, model)
        _of_one(id, _day(since, until) | {"metrics": metric, "step": _step(step)}, server, token, json=json)
        return
    _check(by, _BY_USE)
    given = _range(since, until) | {"metric": metric, "by": by, "step": _step(step)}
    _answer(_Asked("/fleet/history", given, site, model, json), server, token, _history_table)


def use(
    by: ByPlace = None,
    since: Since = None,
    until: Until = None,
    site: options.Sites = None,
    model: options.Models = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """For how many GPU-hours the fleet was active, held (nothing ran, but a process or memory was there) and free."""
    _check(by, _BY)
    _answer(_Asked("/fleet/use", _range(since, until) | {"by": by}, site, model, json), server, token, _use_table)


def quantiles(
    metric: Metric = "gpu_temperature",
    q: Annotated[
        list[float] | None,
        typer.Option("--q", metavar="SHARE", help="0 to 1, such as 0.5 for the median; may be repeated."),
    ] = None,
    by: ByPlace = None,
    site: options.Sites = None,
    model: options.Models = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """How a metric is spread over the GPUs that report now: each value is one that a GPU has."""
    _check(by, _BY)
    for share in q or ():
        if not 0 <= share <= 1:
            raise CliError(f"--q {share:g} is not 0 to 1; 0.95 is the 95th percentile", 2)
    given = {"metric": metric, "by": by, "q": q}
    _answer(_Asked("/fleet/quantiles", given, site, model, json), server, token, _quantile_table)


_Table = Callable[[Item], tuple[list[Item], "list[Column]"]]


def _answer(asked: _Asked, server: str | None, token: str | None, of: _Table) -> None:
    """Ask, and print the answer: as it is, or as the table that `of` makes of it."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.fleet import models_like
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.render import console, show, table
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=asked.json) as api:
        found = api.get(asked.path, asked.given | {"site": asked.site, "model": models_like(api, asked.model)})
    if asked.json:
        show_json(found)
        return
    rows, columns = of(found)
    if not rows:
        typer.echo(_nothing(found, narrowed=asked.narrowed), err=True)
        return
    out = console()
    show(table(rows, columns, out.width), out)


def _no_parts(by: str | None, site: list[str] | None, model: list[str] | None) -> None:
    for option, given in (("--by", by), ("--site", site), ("--model", model)):
        if given:
            raise CliError(f"{option} is for the whole fleet; ID names one GPU or partition", 2)


def _of_one(id: str, given: Item, server: str | None, token: str | None, *, json: bool) -> None:
    from gpufleet_server.cli import samples
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.render import console, show, table
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        title, found = samples.ask(api, id, given)
    if json:
        show_json(found)
        return
    out = console()
    typer.echo(title)
    show(table(samples.rows(found, given["metrics"]), samples.columns(given["metrics"]), out.width), out)


def _day(since: str | None, until: str | None) -> Item:
    """The range, a day before its end where nothing else is said."""
    from gpufleet_server.domain import clock, times

    given = _range(since, until)
    if given["start"] is None:
        end = clock.now() if given["end"] is None else times.parse(given["end"])
        given["start"] = times.iso(end - times.length("1d"))
    return given


def _nothing(found: Item, *, narrowed: bool) -> str:
    from gpufleet_server.cli.fleet import nothing

    if "start" not in found:
        return nothing("GPU", narrowed=narrowed)
    if found["start"] >= found["end"]:
        # The API tells of nothing later than now.
        return "that time is still to come"
    return f"no GPU{' matches' if narrowed else 's'} at that time"


def _check(by: str | None, known: tuple[str, ...]) -> None:
    if by is not None and by not in known:
        raise CliError(f"--by {by!r} is none of {', '.join(known)}", 2)


def _range(since: str | None, until: str | None) -> Item:
    from gpufleet_server.cli.times import moment

    given = {"start": (since, "--since"), "end": (until, "--until")}
    return {name: None if text is None else moment(text, option) for name, (text, option) in given.items()}


def _step(step: str | None) -> float | None:
    from gpufleet_server.cli.times import length

    return None if step is None else length(step, "--step") / 1e6


def _history_table(found: Item) -> "tuple[list[Item], list[Column]]":
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column, marks

    rows = [
        {
            "time": units.local(time),
            "coverage": found["coverage"][n],
            "values": [part["values"][n] for part in found["parts"]],
            "simulated": found["simulated"],
        }
        for n, time in enumerate(found["times"])
    ]
    columns = [
        Column(f"FROM ({units.zone()})", lambda row: row["time"]),
        *marks(rows),
        *(_part_column(found, place) for place in range(len(found["parts"]))),
        Column("COVERAGE", lambda row: _share(row["coverage"]), 0, "right"),
    ]
    owned = any(row["coverage"] is not None for row in rows)
    return rows if owned else [], columns


def _part_column(found: Item, place: int) -> "Column":
    from gpufleet_server.cli.render import Column

    unit, name = found["unit"], found["parts"][place]["name"]
    header = _name(name, found["by"]) if found["by"] else found["metric"].replace("_", " ")
    return Column(header.upper(), lambda row: value_text(row["values"][place], unit), place + 1, "right")


def _use_table(found: Item) -> "tuple[list[Item], list[Column]]":
    parts = [part for part in found["parts"] if part["coverage"] is not None or any(part["gpu_hours"].values())]
    return parts, _use_columns(found["by"], parts)


def _quantile_table(found: Item) -> "tuple[list[Item], list[Column]]":
    return found["parts"], _quantile_columns(found)


def _use_columns(by: str | None, parts: list[Item]) -> "list[Column]":
    from gpufleet_server.cli.render import Column, marks

    def hours(use: str) -> "Column":
        return Column(f"{use.upper()} GPU-H", lambda part: _hours(part["gpu_hours"][use]), 1, "right")

    return [
        Column((by or _WHOLE).upper(), lambda part: _name(part["name"], by)),
        *marks(parts),
        *(hours(use) for use in ("active", "held", "free", "unknown")),
        Column("OWNED GPU-H", lambda part: _hours(part["owned_gpu_hours"]), 2, "right"),
        Column("COVERAGE", lambda part: _share(part["coverage"]), 0, "right"),
    ]


def _quantile_columns(found: Item) -> "list[Column]":
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column, marks

    def quantile(place: int) -> "Column":
        header = f"Q{100 * found['q'][place]:g}"
        return Column(header, lambda part: value_text(part["values"][place], found["unit"]), 0, "right")

    return [
        Column((found["by"] or _WHOLE).upper(), lambda part: _name(part["name"], found["by"])),
        *marks(found["parts"]),
        *(quantile(place) for place in range(len(found["q"]))),
        Column("GPUS", lambda part: units.number(part["gpus"]), 1, "right"),
        Column("OF", lambda part: units.number(part["owned"]), 2, "right"),
        Column("COVERAGE", lambda part: _share(part["coverage"]), 1, "right"),
    ]


def _name(name: str | None, by: str | None) -> str:
    from gpufleet_server.cli import units

    if by is None:
        return "all"
    return units.model(name) if by == "model" else units.text(name)


def _share(coverage: float | None) -> str:
    from gpufleet_server.cli import units

    return units.percent(None if coverage is None else 100 * coverage)


def _hours(value: float) -> str:
    return f"{value:,.1f}".replace(",", " ")


def value_text(value: float | None, unit: str) -> str:
    """A value as people read it; energy in kWh, which is what is paid for."""
    from gpufleet_server.cli import units

    told = {"%": units.percent, "W": units.watts, "B": units.size, "°C": units.celsius, "J": units.energy}.get(unit)
    if told is not None:
        return told(value)
    if value is None:
        return units.ABSENT
    if unit == "flags":
        return f"{int(value):#x}"
    return f"{value:g} {'' if unit == 'level' else unit}".rstrip()
