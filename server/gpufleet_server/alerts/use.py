"""What a GPU is used for now, as a condition: the catalogue's rule (`gpufleet_agent.catalogue.use`) on metrics."""

from typing import Any

from gpufleet_agent.catalogue import ACTIVE_FROM, ACTIVITY, BY_NAME, HOLDING
from sqlalchemy import ColumnElement, and_, or_

# What `observed` has to be asked for.
METRICS = (*ACTIVITY, *HOLDING)


def active(gpu: Any) -> ColumnElement[bool]:
    """Whether something ran."""
    return or_(*(gpu[name] >= _in_unit(name, ACTIVE_FROM) for name in ACTIVITY))


def held(gpu: Any) -> ColumnElement[bool]:
    """Whether nothing ran, and a process or its memory kept others away."""
    nothing_ran = and_(*(or_(gpu[name].is_(None), gpu[name] < _in_unit(name, ACTIVE_FROM)) for name in ACTIVITY))
    known = or_(*(gpu[name].is_not(None) for name in ACTIVITY))
    return and_(nothing_ran, known, or_(*(gpu[name] > _in_unit(name, least) for name, least in HOLDING.items())))


def _in_unit(name: str, stored: int) -> float:
    return float(BY_NAME[name].value(stored) or 0)
