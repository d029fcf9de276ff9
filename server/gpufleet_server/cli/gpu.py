"""`gpufleet gpu ID`: everything that is known of one GPU."""

from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from gpufleet_server.cli.client import Api

Item = dict[str, Any]

_CANDIDATES = 10
_PLACE = ("state", "site", "room", "rack", "first_seen", "removed_at")
_SIZES = ("memory_total", "bar1_total")
_WATTS = ("power_limit_default", "power_limit_min", "power_limit_max")
_MEGAHERTZ = ("graphics_clock_max", "sm_clock_max", "memory_clock_max", "video_clock_max")
_CELSIUS = ("slowdown_temperature", "shutdown_temperature")
# States that a GPU has from its node, whose driver tells more.
_OF_NODE = ("in_maintenance", "driver_failed", "not_reporting")
# Told in the first block, or lists of their own.
_ELSEWHERE = {"id", "uuid", "node", "simulated", "at", "metrics", "absent", "index", *_PLACE}
_ELSEWHERE |= {"partitions", "holders", "driver"}


def gpu(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="A UUID or its beginning, a serial, or [bold]hostname/index[/bold].")
    ],
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """One GPU: what it is, where it is, and its newest value of every metric, or why there is none."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        found = find(api, id)
        if not json and found["state"] in _OF_NODE:
            found["driver"] = api.get(f"/nodes/{found['node']['id']}")["driver"]
    if json:
        show_json(found)
        return
    from gpufleet_server.cli.render import console, show

    out = console()
    show(view(found, out), out)


def find(api: "Api", name: str) -> Item:
    """The GPU of this name. CliError where there is none, or several: it names them."""
    from gpufleet_server.cli.client import NotFound

    if not name.strip():
        raise CliError("the name of the GPU is empty", 2)
    host, slash, index = name.rpartition("/")
    if slash and index.isdigit():
        return _by_index(api, host, int(index))
    try:
        return api.get(f"/gpus/{quote(name, safe='')}")
    except NotFound:
        page = api.pages("/gpus", {"q": name}, _CANDIDATES)
    # The search also looks for hostnames; this is not what an id is.
    found = [one for one in page["items"] if one["id"].startswith(name) or (one["serial"] or "").startswith(name)]
    if len(found) == 1:
        return api.get(f"/gpus/{quote(found[0]['id'], safe='')}")
    if not found:
        raise CliError(f"no GPU has a UUID that begins with {name!r}, or this serial; `gpufleet gpus` lists them")
    raise _ambiguous(name, found, page["total"])


def _by_index(api: "Api", host: str, index: int) -> Item:
    found = api.pages("/gpus", {"node": host}, None)["items"]
    if not found:
        raise CliError(f"no node {host!r} has GPUs; `gpufleet nodes` lists the nodes")
    these = [one for one in found if one["index"] == index and one["state"] != "removed"]
    if len(these) == 1:
        return api.get(f"/gpus/{quote(these[0]['id'], safe='')}")
    if not these:
        there = ", ".join(str(one["index"]) for one in found if one["state"] != "removed")
        raise CliError(f"{host} has no GPU {index}; it has {there}")
    raise _ambiguous(f"{host}/{index}", these, len(these))


def _ambiguous(name: str, found: list[Item], total: int | None) -> CliError:
    lines = [f"  {one['id']}  {one['node']['hostname']}/{one['index']}  {one['model']}" for one in found]
    rest = f"\n  and {total - len(found)} more" if total and total > len(found) else ""
    return CliError(f"{name!r} could be any of these:\n" + "\n".join(lines) + rest)


def view(found: Item, out: "Console") -> "RenderableType":
    """All of a GPU as one thing to print."""
    from rich.console import Group
    from rich.text import Text

    from gpufleet_server.cli.holders import holding_columns
    from gpufleet_server.cli.render import facts, table

    parts: list[RenderableType] = [_title(found), facts(_place(found)), _heading("Identity"), facts(_identity(found))]
    if found["holders"]:
        title = "Holders" if found["state"] == "reporting" else "Holders when it was last seen"
        parts += [_heading(title), table(found["holders"], holding_columns(), out.width)]
    if found["partitions"]:
        parts += [_heading("Partitions"), table(found["partitions"], _partition_columns(), out.width)]
    rows = [{"name": name, "sampled": found["at"]} | value for name, value in found["metrics"].items()]
    parts += [_heading("Metrics"), table(rows, _metric_columns(), out.width), Text("")]
    return Group(*parts[:-1])


def _title(found: Item) -> "Text":
    from rich.text import Text

    from gpufleet_server.cli.render import mark

    return Text.assemble((found["id"], "bold"), "  ", found["model"] or "", "  ", mark(found))


def _heading(text: str) -> "Text":
    from rich.text import Text

    return Text(f"\n{text}", style="bold")


def _place(found: Item) -> list[tuple[str, "str | Text"]]:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import state

    node = found["node"]
    removed = [("removed", units.local(found["removed_at"]))] if found["removed_at"] else []
    return [
        ("node", f"{node['hostname']}, GPU {units.text(found['index'])}  (node {node['id']})"),
        ("state", state(found["state"])),
        *_driver(found.get("driver")),
        ("site, room, rack", " / ".join(units.text(found[name]) for name in ("site", "room", "rack"))),
        ("last sample", units.age(found["at"])),
        *([("held by", "nobody")] if found["holders"] == [] else []),
        ("first seen", f"{units.local(found['first_seen'])} {units.zone()}"),
        *removed,
    ]


def _driver(driver: Item | None) -> list[tuple[str, "str | Text"]]:
    """How the driver of a node stands whose GPUs are not read."""
    from gpufleet_server.cli import units

    if driver is None:
        return []
    since = f"{driver['state']} since {units.local(driver['since'])}"
    return [("driver", f"{since}: {driver['detail']}" if driver["detail"] else since)]


def _identity(found: Item) -> list[tuple[str, "str | Text"]]:
    absent = found["absent"]
    names = [name for name in found if name not in _ELSEWHERE]
    return [(name.replace("_", " "), _field(name, found[name], absent.get(name))) for name in names]


def _field(name: str, value: Any, reason: str | None) -> "str | Text":
    from gpufleet_server.cli import units

    if value is None:
        return _absent(reason)
    if name in _SIZES:
        return units.size(value)
    unit = {"W": _WATTS, "MHz": _MEGAHERTZ, "°C": _CELSIUS}
    symbol = next((symbol for symbol, names in unit.items() if name in names), "")
    return f"{value:g} {symbol}" if symbol else str(value)


def _absent(reason: str | None) -> "Text":
    from rich.text import Text

    from gpufleet_server.cli.units import ABSENT

    return Text(f"{ABSENT}  {reason}" if reason else ABSENT, style="dim")


def _metric_columns() -> list[Any]:
    from gpufleet_server.cli.render import Column

    return [
        Column("METRIC", lambda row: row["name"]),
        Column("VALUE", value_text, 0, "right"),
        Column("PER SECOND", _rate, 2, "right"),
        Column("AS OF", _as_of, 1, "right"),
        Column("", _remark, 0),
    ]


def _as_of(row: Item) -> str:
    """When it was read; what is stored on change holds since then, however long that is."""
    from gpufleet_server.cli import units

    told = units.age(row["at"])
    return f"since {told}" if row["kind"] == "state" and row["at"] not in (None, row["sampled"]) else told


def value_text(row: Item) -> str:
    """A metric's value with its unit: bytes and flags in the words people use, all else as the driver gave it."""
    from gpufleet_server.cli import units

    value, unit = row["value"], row["unit"]
    if value is None:
        return units.ABSENT
    if unit == "B":
        return units.size(value)
    if unit == "yes/no":
        return "yes" if value else "no"
    if unit == "flags":
        return f"{int(value):#x}"
    if row["name"] == "performance_state":
        return f"P{value}"
    return f"{units.number(value)} {'' if unit == 'level' else unit}".rstrip()


def _rate(row: Item) -> str:
    from gpufleet_server.cli import units

    rate = row.get("rate")
    if rate is None:
        return ""
    return f"{units.size(rate)}/s" if row["unit"] == "B" else units.watts(rate)


def _remark(row: Item) -> "str | Text":
    if row["reason"]:
        from rich.text import Text

        return Text(row["reason"], style="dim")
    return ", ".join(row.get("flags") or [])


def _partition_columns() -> list[Any]:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    def value(part: Item, metric: str) -> Any:
        return part["metrics"][metric]["value"]

    return [
        Column("PROFILE", lambda part: units.text(part["profile"])),
        Column("UUID", lambda part: part["uuid"]),
        Column("UTILIZATION", lambda part: units.percent(value(part, "gpu_utilization")), 1, "right"),
        Column("SM ACTIVE", lambda part: units.percent(value(part, "sm_active")), 2, "right"),
        Column("MEMORY", lambda part: units.part(value(part, "fb_used"), part["memory_total"]), 1, "right"),
        Column("PROCESSES", lambda part: units.text(value(part, "compute_processes")), 3, "right"),
        Column("OF THE GPU", _share, 3, "right"),
        Column("SMS", lambda part: units.text(part["multiprocessors"]), 4, "right"),
        Column("GI", lambda part: units.text(part["gpu_instance"]), 5, "right"),
        Column("CI", lambda part: units.text(part["compute_instance"]), 6, "right"),
        Column("AS OF", lambda part: units.age(part["at"]), 4, "right"),
    ]


def _share(part: Item) -> str:
    from gpufleet_server.cli.units import ABSENT

    return ABSENT if part["share"] is None else f"{100 * part['share']:.1f} %"
