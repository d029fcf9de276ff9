"""What state a node and a GPU are in: from what was last heard, never from what was not."""

import enum


class NodeState(enum.StrEnum):
    """A silent node is not reporting; nothing is said of its GPUs."""

    REPORTING = "reporting"
    DRIVER_FAILED = "driver_failed"
    NOT_REPORTING = "not_reporting"


class GpuState(enum.StrEnum):
    """From well to worst known; `removed` left the roster of a node that reports."""

    REPORTING = "reporting"
    LOST = "lost"
    DRIVER_FAILED = "driver_failed"
    NOT_REPORTING = "not_reporting"
    REMOVED = "removed"


def silent_after(interval_ms: int) -> int:
    """µs without a report after which a node counts as not reporting: three reports that did not come."""
    return 3 * max(interval_ms, 10_000) * 1000


def node_state(driver_state: str, interval_ms: int, silence: int) -> NodeState:
    """The state of a node last heard `silence` µs ago. A driver that is absent, failed or hung is `driver_failed`."""
    if silence > silent_after(interval_ms):
        return NodeState.NOT_REPORTING
    return NodeState.REPORTING if driver_state == "ok" else NodeState.DRIVER_FAILED


def gpu_state(node: NodeState, *, lost: bool, removed: bool) -> GpuState:
    """The state of a GPU in a node of state `node`."""
    if removed:
        return GpuState.REMOVED
    if node is NodeState.NOT_REPORTING:
        return GpuState.NOT_REPORTING
    if lost:
        return GpuState.LOST
    return GpuState(node.value)
