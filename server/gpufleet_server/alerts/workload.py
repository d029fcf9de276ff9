"""How alerts name whoever has a GPU, from the columns of `Sight.usage`."""

from typing import Any

from sqlalchemy import ColumnElement, String, case, func, literal


def name(holder: Any) -> ColumnElement[str]:
    """Such as `Slurm job 4711 (ada)` or `pod team/train-0`."""
    c = holder
    user = func.coalesce(_text(" (") + c.user + ")", "")
    return case(
        (c.kind == "slurm", _text("Slurm job ") + func.coalesce(c.job, "?") + user),
        (c.kind == "kubernetes", _text("pod ") + func.coalesce(c.namespace + "/", "") + func.coalesce(c.pod, "?")),
        (c.kind == "container", _text("container ") + func.coalesce(c.container_name, "?") + user),
        else_=func.coalesce(c.unit, c.command, c.kind) + user,
    )


def _text(text: str) -> ColumnElement[str]:
    return literal(text, String())
