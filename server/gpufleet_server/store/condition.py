"""The states of domain/state.py as SQL expressions, so that filters, counts and pages are the database's work."""

from sqlalchemy import BigInteger, ColumnElement, String, and_, case, cast, literal

from gpufleet_server.domain.state import UNSEEN, GpuState, NodeState, silent_after
from gpufleet_server.store.schema import gpus, nodes

# `silent_after` is linear above its floor; a property test holds the two against each other.
_FLOOR = silent_after(0)
_PER_MS = silent_after(1 << 20) // (1 << 20)


def tolerance() -> ColumnElement[int]:
    """µs of silence after which a node counts as not reporting."""
    own = cast(nodes.c.interval_ms, BigInteger) * _PER_MS
    return case((own > _FLOOR, own), else_=literal(_FLOOR, BigInteger))


def node_state(now: int | ColumnElement[int]) -> ColumnElement[str]:
    """The word of NodeState for a row of `nodes`, at `now` µs."""
    silence = (literal(now, BigInteger) if isinstance(now, int) else now) - nodes.c.last_seen
    return case(
        (silence > tolerance(), _word(NodeState.NOT_REPORTING)),
        (nodes.c.driver_state == "ok", _word(NodeState.REPORTING)),
        (nodes.c.driver_state == "paused", _word(NodeState.IN_MAINTENANCE)),
        else_=_word(NodeState.DRIVER_FAILED),
    )


def gpu_state(now: int | ColumnElement[int]) -> ColumnElement[str]:
    """The word of GpuState for a row of `gpus` joined with its node, at `now` µs."""
    node = node_state(now)
    return case(
        (gpus.c.removed_at.is_not(None), _word(GpuState.REMOVED)),
        (and_(gpus.c.lost, node.not_in([state.value for state in UNSEEN])), _word(GpuState.LOST)),
        else_=node,
    )


def _word(state: NodeState | GpuState) -> ColumnElement[str]:
    return literal(state.value, String)
