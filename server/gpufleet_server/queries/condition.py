"""States as SQL expressions, so that filters, counts and pages are the database's work."""

from sqlalchemy import BigInteger, ColumnElement, and_, case, literal

from gpufleet_server.domain.state import GpuState
from gpufleet_server.store.condition import gpu_state, node_state, tolerance

__all__ = ["gpu_state", "node_state", "observed", "severity", "tolerance"]


def observed(now: int, ts: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a GPU reports and its newest sample, of `ts`, is of now: a node may still be sending yesterday's."""
    fresh = literal(now, BigInteger) - ts <= tolerance()
    return and_(gpu_state(now) == GpuState.REPORTING.value, fresh)


def severity(state: ColumnElement[str]) -> ColumnElement[int]:
    """Where a GPU's state stands from well (0) to worst."""
    return case({word.value: rank for rank, word in enumerate(GpuState)}, value=state, else_=len(GpuState))
