"""`gpufleet db`: looks after the database itself; a server may run on it meanwhile."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import keep, options
from gpufleet_server.cli.database import Database, opened
from gpufleet_server.cli.db_reader import grant_reader
from gpufleet_server.cli.errors import CliError, Commands

if TYPE_CHECKING:
    from gpufleet_server.store.size import StoreSize, TableSize

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Look after the database: migrate, measure, seal, trim it.")

app.command()(grant_reader)

Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="What ended by then: a time, or a length ago. Else what is due now."),
]


@app.command()
def migrate(database: Database = None) -> None:
    """Make the database, or bring it to this version's schema; with PostgreSQL also partitions for the next hours."""
    with opened(database, upgrade=True) as store:
        typer.echo(f"the {store.dialect} database has this version's schema", err=True)


@app.command()
def stats(
    database: Database = None,
    keep_samples: keep.KeepSamples = keep.SAMPLES,
    keep_hourly: keep.KeepHourly = keep.HOURLY,
    keep_daily: keep.KeepDaily = keep.DAILY,
    keep_fleet_minutes: keep.KeepFleetMinutes = keep.FLEET_MINUTES,
    keep_fleet_hours: keep.KeepFleetHours = keep.FLEET_HOURS,
    keep_usage: keep.KeepUsage = keep.USAGE,
    json: options.Json = False,
) -> None:
    """Show how large each tier is, from when to when it reaches, and what keeping it costs.

    The costs are those of the present fleet and of the --keep settings given here, which should be the server's.
    """
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.domain import clock
    from gpufleet_server.store.size import measure

    kept = keep.keep(keep_samples, keep_hourly, keep_daily, keep_fleet_minutes, keep_fleet_hours, keep_usage)
    with opened(database) as store:
        found = measure(store, kept, clock.now())
    if json:
        show_json(_told(found))
    else:
        _show(found)


@app.command()
def seal(database: Database = None, until: Until = None, json: options.Json = False) -> None:
    """Seal hours that are over, as a server does by itself, with their rollups."""
    from gpufleet_server.cli.times import iso_or_none
    from gpufleet_server.domain import clock
    from gpufleet_server.store.seal import horizon
    from gpufleet_server.store.upkeep import seal_everything

    now = clock.now()
    moment = horizon(now) if until is None else min(_moment(until, "--until"), now)
    with opened(database) as store:
        done = seal_everything(store, moment)
    found = {"hours": done.hours, "rows": done.rows, "samples": done.samples, "until": iso_or_none(moment)}
    _tell(found, json, f"sealed {done.samples} samples in {done.hours} hours of nodes, until {_seconds(moment)}")


@app.command()
def retention(
    database: Database = None,
    keep_samples: keep.KeepSamples = "0",
    keep_hourly: keep.KeepHourly = "0",
    keep_daily: keep.KeepDaily = "0",
    keep_fleet_minutes: keep.KeepFleetMinutes = "0",
    keep_fleet_hours: keep.KeepFleetHours = "0",
    keep_usage: keep.KeepUsage = "0",
    json: options.Json = False,
) -> None:
    """Remove now what is older than it is to be kept, as a server does by itself every ten minutes.

    Nothing else than what is given here: a server's own settings are not known to this command.
    """
    from gpufleet_server.domain import clock
    from gpufleet_server.store.partitions import in_partitions
    from gpufleet_server.store.retention import Keep, retain

    kept = keep.keep(keep_samples, keep_hourly, keep_daily, keep_fleet_minutes, keep_fleet_hours, keep_usage)
    if kept == Keep(0, 0, 0, 0, 0, 0):
        raise CliError("what is too old? Give --keep-samples 30d or another of the server's --keep settings", 2)
    with opened(database) as store:
        unit = "partitions" if store.dialect == "postgresql" else "rows"
        removed = retain(store, kept, clock.now())
    lines = [
        f"removed {count} {unit if name in in_partitions() else 'rows'} of {name}" for name, count in removed.items()
    ]
    _tell({"removed": removed}, json, "\n".join(lines) or "nothing is too old")


@app.command()
def rebuild(
    since: Annotated[str, typer.Option(metavar="TIME", help="From then on: a time, or a length ago such as 7d.")],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Until then; else until now.")] = None,
    database: Database = None,
    json: options.Json = False,
) -> None:
    """Make rollups anew: hours and days of GPUs from sealed samples, hours of the fleet from its minutes.

    Also days of usage, and the hours that lack some of it, from intervals. What the samples are gone of stays as it is.
    The minutes of the fleet are not made anew: they were committed with their samples, by the site and model of then.
    It may be ended and run again.
    """
    from gpufleet_server.cli.times import iso_or_none
    from gpufleet_server.domain import clock
    from gpufleet_server.store.rebuild import rebuild
    from gpufleet_server.store.usage_rebuild import rebuild_usage

    now = clock.now()
    begin, end = _moment(since, "--since"), now if until is None else min(_moment(until, "--until"), now)
    if begin >= end:
        raise CliError(f"--since {since!r} is not before --until {until or 'now'!r}", 2)
    with opened(database) as store:
        hours, used = rebuild(store, begin, end), rebuild_usage(store, begin, end)
    found = {"hours": hours, "usage_hours": used, "since": iso_or_none(begin), "until": iso_or_none(end)}
    made = f"made {hours} hours of nodes anew, and {used} of the fleet's usage"
    _tell(found, json, f"{made}, {_seconds(begin)} to {_seconds(end)}")


def _tell(found: dict[str, Any], json: bool, text: str) -> None:
    """What came of it: to programs as JSON, to people on stderr."""
    from gpufleet_server.cli.plain import show_json

    if json:
        show_json(found)
    else:
        typer.echo(text, err=True)


def _moment(text: str, option: str) -> int:
    from gpufleet_server.cli.times import moment
    from gpufleet_server.domain.times import parse

    return parse(moment(text, option))


def _told(found: "StoreSize") -> dict[str, Any]:
    import dataclasses

    from gpufleet_server.cli.times import iso_or_none

    told = dataclasses.asdict(found)
    for table in told["tables"]:
        table["oldest"], table["newest"] = iso_or_none(table["oldest"]), iso_or_none(table["newest"])
        table["keep_seconds"] = None if (kept := table.pop("keep")) is None else kept / 1e6
        for name in ("per_gpu_day", "per_day", "steady"):
            table[f"bytes_{name}"] = _rounded(table.pop(name))
    for name in ("database", "wal", "free"):
        told[f"{name}_bytes"] = told.pop(name)
    return told


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _show(found: "StoreSize") -> None:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import console, show, table

    out = console()
    rows = [{"table": each} for each in found.tables]
    show(table(rows, _columns(), out.width), out)
    gpus, nodes = "GPU" if found.gpus == 1 else "GPUs", "node" if found.nodes == 1 else "nodes"
    parts = [f"{units.number(found.gpus)} {gpus} in {units.number(found.nodes)} {nodes}"]
    parts.append(f"{found.engine} database {units.size(found.database)}")
    parts += [
        f"{what} {units.size(size)}"
        for what, size in (("WAL", found.wal), ("free disk", found.free))
        if size is not None
    ]
    typer.echo(f"\n{'; '.join(parts)}. Sizes by {found.method}; times are UTC.")
    if all(each.per_day is None for each in found.tables):
        return
    total = sum(each.steady or 0 for each in found.tables)
    growing = sum(each.per_day or 0 for each in found.tables if each.keep == 0)
    typer.echo(f"As set, this fleet comes to {units.size(total)}, and to {units.size(growing * 365)} more each year.")


def _columns() -> list[Any]:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column
    from gpufleet_server.store.tier_names import title

    def of(item: dict[str, Any]) -> "TableSize":
        found: TableSize = item["table"]
        return found

    return [
        Column("TIER", lambda item: title(of(item).name)),
        Column("ROWS", lambda item: ("~" if of(item).rows_estimated else "") + units.number(of(item).rows), 3, "right"),
        Column("SIZE", lambda item: units.size(of(item).bytes), 0, "right"),
        Column("A GPU-DAY", lambda item: units.size(of(item).per_gpu_day), 0, "right"),
        Column("OLDEST", lambda item: _seconds(of(item).oldest), 1),
        Column("NEWEST", lambda item: _seconds(of(item).newest), 2),
        Column("KEPT", lambda item: _kept(of(item)), 0, "right"),
        Column("COMES TO", lambda item: _comes_to(of(item)), 0, "right"),
    ]


def _kept(table: "TableSize") -> str:
    from gpufleet_server.cli import units

    if table.keep is None:
        return "until folded" if table.name == "usage_recent" else "until sealed"
    return units.duration(table.keep / 1e6) if table.keep else "for ever"


def _comes_to(table: "TableSize") -> str:
    from gpufleet_server.cli import units

    if table.steady is not None:
        return units.size(table.steady)
    if table.keep == 0 and table.per_day is not None:
        return f"{units.size(table.per_day * 365)} a year"
    return units.ABSENT


def _seconds(micros: int | None) -> str:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.times import iso_or_none

    text = iso_or_none(micros)
    return units.ABSENT if text is None else f"{text[:19]}Z"
