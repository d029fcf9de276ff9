"""The view `xids`."""

from gpufleet_server.domain.xids import catalogue
from gpufleet_server.store.grafana.view import Column, View

_COLUMNS = (
    Column("code", "integer", "Its number."),
    Column("name", "text", "What it is."),
    Column("class", "text", "The class of what to do, such as `reset_gpu`."),
    Column("severity", "text", "`critical`, `warning` or `info`."),
)


def _select() -> str:
    rows = (
        f"({each.code}, {_text(each.meaning or each.mnemonic)}, {_text(each.action)}, {_text(each.severity)})"
        for each in catalogue().xids.values()
    )
    names = ", ".join(column.name for column in _COLUMNS)
    return f"SELECT {names} FROM (VALUES {', '.join(rows)}) AS known ({names})"


def _text(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


VIEW = View(
    "xids",
    "An XID of NVIDIA's catalogue: to be joined with events that are counted by their code.",
    _COLUMNS,
    _select(),
)
