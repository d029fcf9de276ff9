"""States and uses as SQL expressions, so that filters, counts and pages are the database's work."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, String, and_, case, false, literal, or_

from gpufleet_server.domain.state import GpuState
from gpufleet_server.domain.use import ACTIVE_FROM, ACTIVITY, HOLDING, Use
from gpufleet_server.store.condition import gpu_state, node_state, tolerance

__all__ = ["gpu_state", "node_state", "observed", "severity", "tolerance", "use"]


def observed(now: int, ts: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a GPU reports and its newest sample, of `ts`, is of now: a node may still be sending yesterday's."""
    fresh = literal(now, BigInteger) - ts <= tolerance()
    return and_(gpu_state(now) == GpuState.REPORTING.value, fresh)


def use(stored: Mapping[str, ColumnElement[Any]]) -> ColumnElement[str]:
    """The word of domain.use's Use, from columns of the stored integers of its metrics, NULL where absent."""
    active = or_(false(), *(stored[name] >= ACTIVE_FROM for name in ACTIVITY))
    seen = or_(*(stored[name].is_not(None) for name in ACTIVITY))
    held = or_(false(), *(stored[name] > least for name, least in HOLDING.items()))
    seen_holding = or_(*(stored[name].is_not(None) for name in HOLDING))
    return case(
        (active, literal(Use.ACTIVE.word, String)),
        (~seen, literal(Use.UNKNOWN.word, String)),
        (held, literal(Use.HELD.word, String)),
        (~seen_holding, literal(Use.UNKNOWN.word, String)),
        else_=literal(Use.FREE.word, String),
    )


def severity(state: ColumnElement[str]) -> ColumnElement[int]:
    """Where a GPU's state stands from well (0) to worst."""
    return case({word.value: rank for rank, word in enumerate(GpuState)}, value=state, else_=len(GpuState))
