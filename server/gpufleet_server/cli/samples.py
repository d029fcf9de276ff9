"""`gpufleet history ID`: one metric of a GPU or a partition over time."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.render import Column

Item = dict[str, Any]
_PARTITION = "MIG-"


def ask(api: "Api", name: str, given: Item) -> tuple[str, Item]:
    """Whose samples these are, for the screen, and the API's answer. CliError where nothing has that name."""
    from gpufleet_server.cli.client import NotFound
    from gpufleet_server.cli.gpu import find

    if not name.startswith(_PARTITION):
        gpu = find(api, name)
        found = api.get(f"/gpus/{quote(gpu['id'], safe='')}/samples", given)
        return f"{gpu['id']}  {gpu['model'] or ''}  {gpu['node']['hostname']}/{gpu['index']}", found
    try:
        found = api.get(f"/partitions/{quote(name, safe='')}/samples", given)
    except NotFound:
        raise CliError(f"no partition has the UUID {name!r}; `gpufleet gpu ID` lists those of a GPU") from None
    return f"{name}  of {found['gpu'] or 'a GPU that is not known yet'}", found


def rows(found: Item, metric: str) -> list[Item]:
    """A row a step that was observed, or whose value says why it is absent."""
    column = found["metrics"][metric]
    reasons = column.get("reasons") or [None] * len(found["times"])
    cells = zip(found["times"], column["values"], reasons, found["coverage"], strict=True)
    return [
        {"time": time, "value": value, "reason": reason, "coverage": coverage, "unit": column["unit"]}
        for time, value, reason, coverage in cells
    ]


def columns(metric: str) -> "list[Column]":
    """What the table shows of such rows."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.history import value_text
    from gpufleet_server.cli.render import Column

    return [
        Column(f"FROM ({units.zone()})", lambda row: units.local(row["time"])),
        Column(metric.replace("_", " ").upper(), lambda row: value_text(row["value"], row["unit"]), 0, "right"),
        Column("COVERAGE", lambda row: units.percent(100 * row["coverage"]), 1, "right"),
        Column("", lambda row: row["reason"] or "", 2),
    ]
