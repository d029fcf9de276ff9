"""`gpufleet usage`: who used the GPUs, and how much."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.history import Since, Until

if TYPE_CHECKING:
    from gpufleet_server.cli.render import Column

Item = dict[str, Any]
_BY = (
    *("user", "job", "account", "slurm_partition", "namespace", "pod", "container", "unit", "kind", "command"),
    *("node", "gpu", "model", "site"),
)
_HOUR = 3600


def _who(name: str, metavar: str, help: str) -> Any:
    return typer.Option(name, metavar=metavar, rich_help_panel="Which", help=f"{help}; may be repeated.")


Names = list[str] | None
By = Annotated[
    list[str] | None,
    typer.Option(metavar="WHAT", help=f"A row for each {', '.join(_BY[:-1])} or {_BY[-1]}; several with commas."),
]
Users = Annotated[Names, _who("--user", "USER", "Only of this user, or user number")]
Jobs = Annotated[Names, _who("--job", "JOB", "Only of this Slurm job")]
Accounts = Annotated[Names, _who("--account", "NAME", "Only of this Slurm account")]
Namespaces = Annotated[Names, _who("--namespace", "NAME", "Only of this Kubernetes namespace")]
Pods = Annotated[Names, _who("--pod", "NAME", "Only of this pod")]
Partitions = Annotated[Names, _who("--slurm-partition", "NAME", "Only of this Slurm partition")]
Containers = Annotated[Names, _who("--container", "ID", "Only of this container, by the runtime's id")]
Units = Annotated[Names, _who("--unit", "NAME", "Only of this systemd unit")]
Kinds = Annotated[Names, _who("--kind", "KIND", "Only slurm, kubernetes, container, unit, unknown or nobody")]
Gpus = Annotated[Names, _who("--gpu", "GPU", "Only on this GPU: UUID or serial")]


def usage(
    by: By = None,
    since: Since = None,
    until: Until = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Who held which GPU from when to when, instead of sums.")
    ] = False,
    site: options.Sites = None,
    node: options.Nodes = None,
    model: options.Models = None,
    gpu: Gpus = None,
    user: Users = None,
    job: Jobs = None,
    account: Accounts = None,
    slurm_partition: Partitions = None,
    namespace: Namespaces = None,
    pod: Pods = None,
    container: Containers = None,
    unit: Units = None,
    kind: Kinds = None,
    simulated: options.Simulated = None,
    server: options.Server = None,
    token: options.Token = None,
    limit: options.Limit = 30,
    all_: options.All = False,
    json: options.Json = False,
) -> None:
    """Who used the GPUs: GPU-hours by user (or by what --by says), how much of it active, memory, and what is nobody's.

    A GPU that several use at once is divided between them; an interval that the range cuts counts in part.
    """
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.fleet import models_like
    from gpufleet_server.cli.settings import access

    if intervals and by:
        raise CliError("--by adds up what --intervals shows one by one: give one of them", 2)
    names = _names(by)
    given: Item = {"site": site, "node": node, "gpu": gpu, "user": user, "job": job, "account": account}
    given |= {"slurm_partition": slurm_partition, "namespace": namespace, "pod": pod, "container": container}
    given |= {"unit": unit, "kind": kind, "simulated": simulated}
    given |= _range(since, until) | ({} if intervals else {"by": names})
    path, most = "/usage/intervals" if intervals else "/usage", None if all_ else limit
    with Api(access(server, token), raw=json) as api:
        found = api.pages(path, given | {"model": models_like(api, model)}, most)
    if json:
        from gpufleet_server.cli.plain import show_json

        show_json(found)
    elif intervals:
        _show(found, _interval_columns(found["items"]))
    else:
        _show(found, _group_columns(names, found["items"]))
        for line in _footer(found):
            typer.echo(line)


def _names(by: list[str] | None) -> list[str]:
    names = [name for given in by or ["user"] for name in given.split(",")]
    for name in names:
        if name not in _BY:
            raise CliError(f"--by {name!r} is none of {', '.join(_BY)}", 2)
    return names


def _range(since: str | None, until: str | None) -> Item:
    from gpufleet_server.cli.times import moment

    given = {"since": (since, "--since"), "until": (until, "--until")}
    return {name: None if text is None else moment(text, option) for name, (text, option) in given.items()}


def _show(found: Item, columns: "list[Column]") -> None:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import console, show, table

    items, out = found["items"], console()
    if items:
        show(table(items, columns, out.width), out)
    elif found["since"] >= found["until"]:
        typer.echo(
            f"nothing is known yet of that time: reports are counted until {units.local(found['through'])}", err=True
        )
    else:
        typer.echo("nobody used a GPU then, of what was asked for, as far as agents tell", err=True)
    if found["next"] is not None:
        typer.echo(f"the first {len(items)}; --all shows the rest", err=True)


def _group_columns(names: list[str], items: list[Item]) -> "list[Column]":
    from gpufleet_server.cli import units
    from gpufleet_server.cli.holders import share
    from gpufleet_server.cli.render import Column, marks

    return [
        *(_name_column(name, place == 0) for place, name in enumerate(names)),
        *marks(items),
        Column("GPU-H", lambda group: hours(group["gpu_seconds"]), 0, "right"),
        Column("ACTIVE", lambda group: share(group["active_share"]), 0, "right"),
        Column("HELD GPU-H", lambda group: hours(group["held_seconds"]), 1, "right"),
        Column("ACTIVITY", lambda group: share(group["activity"]), 5, "right"),
        Column("MEMORY", lambda group: units.size(group["memory_mean"]), 3, "right"),
        Column("MOST", lambda group: units.size(group["memory_most"]), 4, "right"),
        Column("GPUS", lambda group: units.number(group["gpus"]), 2, "right"),
        Column("NODES", lambda group: units.number(group["nodes"]), 6, "right"),
        Column(f"LAST ({units.zone()})", lambda group: units.local(group["last"]), 7),
    ]


def _name_column(name: str, first: bool) -> "Column":
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    def cell(group: Item) -> str:
        value = group["names"][name]
        # A container is known by its id, a pod by its UID, where their names can't be told.
        value = value or {"pod": group["names"].get("pod_uid")}.get(name)
        if name == "container" and group["names"]["container_name"]:
            value = group["names"]["container_name"]
        if value is None and first and group["holder"]:
            return f"({group['holder']})"
        return units.model(value) if name == "model" else units.text(value)

    return Column(name.replace("_", " ").upper(), cell)


def _interval_columns(items: list[Item]) -> "list[Column]":
    from gpufleet_server.cli import units
    from gpufleet_server.cli.holders import holder_text, share
    from gpufleet_server.cli.render import Column, marks

    parted = any(each["partition"] for each in items)
    return [
        Column(f"FROM ({units.zone()})", lambda each: units.local(each["begin"])),
        Column("TO", lambda each: units.local(each["end"])),
        Column("HOLDER", lambda each: holder_text(each["holder"])),
        *marks(items),
        Column("NODE", lambda each: units.text(each["node"]["hostname"]), 1),
        Column("GPU", lambda each: each["gpu"], 2),
        *([Column("PARTITION", lambda each: units.text(each["partition"]), 6)] if parted else []),
        Column("ACTIVE GPU-H", lambda each: hours(each["active_seconds"]), 0, "right"),
        Column("HELD GPU-H", lambda each: hours(each["held_seconds"]), 1, "right"),
        Column("ACTIVITY", lambda each: share(each["activity"]), 4, "right"),
        Column("MEMORY", lambda each: units.size(each["memory_mean"]), 3, "right"),
        Column("COMMAND", lambda each: units.text(each["holder"]["command"]), 5),
    ]


def _footer(found: Item) -> list[str]:
    """What there was in all, and what of it is nobody's or not told."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.holders import share

    through = f"counted until {units.local(found['until'])} {units.zone()}"
    whole = found["totals"]
    if whole is None or not whole["gpu_seconds"]:
        return ["", through]
    parts = (("active", "active"), ("held", "held"), ("free", "free"), ("unknown_use", "use unknown"))
    uses = ", ".join(f"{hours(whole[f'{name}_seconds'])} {word}" for name, word in parts)
    lacking = (
        ("nobody", "held by nobody the driver lists"),
        ("unknown", "of unknown holders"),
        ("untold", "not told, or not yet"),
    )
    rest = [f"{hours(whole[f'{name}_seconds'])} {word}" for name, word in lacking if whole[f"{name}_seconds"]]
    known = f"{hours(whole['workload_seconds'])} GPU-h of known workloads"
    return [
        "",
        f"{hours(whole['gpu_seconds'])} GPU-h owned, coverage {share(whole['coverage'])}: {uses}",
        f"{', '.join([known, *rest])}; {through}",
    ]


def hours(seconds: float) -> str:
    """Seconds as hours, with thousands set apart."""
    found = seconds / _HOUR
    return f"{found:,.{1 if found >= 10 or not found else 2}f}".replace(",", " ")
