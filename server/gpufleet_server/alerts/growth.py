"""By how much a counter that is sent on change grew lately."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, case, func

from gpufleet_server.alerts.sight import Sight


def grown(sight: Sight, relation: FromClause, metric: str, seconds: ColumnElement[float] | float) -> ColumnElement[Any]:
    """What a counter of `observed` gained in the last so many s, or since it is known; NULL where it is not known.

    A counter that is lower than it was began anew in between: all that it has is new.
    """
    now, then = relation.c[metric], sight.was(metric, relation.c.gpu_id, seconds, or_first=True)
    return case((now >= then, now - then), (now < then, now))


def summed(*parts: ColumnElement[Any]) -> ColumnElement[Any]:
    """Their sum; what is not known adds nothing."""
    first, *rest = (func.coalesce(part, 0) for part in parts)
    return sum(rest, first)


def changed_within(gpu: Any, metric: str, seconds: ColumnElement[float] | float) -> ColumnElement[bool]:
    """For `where`: whether a metric that is sent on change has changed in the last so many s of samples."""
    changed: ColumnElement[bool] = gpu.ts - gpu[f"{metric}_since"] <= seconds * 1_000_000
    return changed
