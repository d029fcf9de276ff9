"""Workloads in a few words, as SQL: the same words that the command line has for them (cli/holders.py)."""

from typing import Any

from sqlalchemy import ColumnElement, String, case, cast, func, literal

from gpufleet_server.store.usage import holders, owners

# Characters of a container's id.
_SHORT = 12


def holder_name() -> ColumnElement[str]:
    """Of `holders` joined with `owners`: `alice job 4711`, `ml/train-0`, `jupyter.service (bob)`, `nobody`, …"""
    h, user = holders.c, func.nullif(owners.c.user, "")
    job = _joined("job ", _first(h.job, h.sluid, "?"))
    pod = _first(h.pod, h.pod_uid, "?")
    container = _joined(_first(h.runtime, "container"), " ", func.substr(_first(h.container, "?"), 1, _SHORT))
    behind = func.coalesce(_joined(" (", user, ")"), "")
    return case(
        (h.kind == "slurm", func.coalesce(_joined(user, " ", job), job)),
        (h.kind == "kubernetes", func.coalesce(_joined(func.nullif(h.namespace, ""), "/", pod), _joined("pod ", pod))),
        (h.kind == "container", _first(h.container_name, container)),
        (h.kind == "unit", _joined(_first(h.unit, "?"), behind)),
        (h.kind == "unknown", _joined(h.kind, behind)),
        else_=h.kind,
    )


def _first(*values: Any) -> ColumnElement[str]:
    """The first that is there and not empty."""
    there: list[Any] = [value if isinstance(value, str) else func.nullif(value, "") for value in values]
    return func.coalesce(*there)


def _joined(*parts: Any) -> ColumnElement[str]:
    """One after the other; NULL where one of them is."""
    first, *rest = (cast(literal(part), String) if isinstance(part, str) else part for part in parts)
    for part in rest:
        first = first.op("||")(part)
    return first
