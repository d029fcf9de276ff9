"""What state a node and a GPU are in: from what was last heard, never from what was not."""

import enum


class NodeState(enum.StrEnum):
    """A silent node is not reporting; nothing is said of its GPUs. In maintenance: its agent was told to pause."""

    REPORTING = "reporting"
    IN_MAINTENANCE = "in_maintenance"
    DRIVER_FAILED = "driver_failed"
    NOT_REPORTING = "not_reporting"


class GpuState(enum.StrEnum):
    """From well to worst known; `removed` left the roster of a node that reports."""

    REPORTING = "reporting"
    IN_MAINTENANCE = "in_maintenance"
    LOST = "lost"
    DRIVER_FAILED = "driver_failed"
    NOT_REPORTING = "not_reporting"
    REMOVED = "removed"


_OF_DRIVER = {"ok": NodeState.REPORTING, "paused": NodeState.IN_MAINTENANCE}
# Nobody looks at the GPUs of nodes in these states: whether one that was lost still is, is not known.
UNSEEN = frozenset({NodeState.IN_MAINTENANCE, NodeState.NOT_REPORTING})


def silent_after(interval_ms: int) -> int:
    """µs without a report after which a node counts as not reporting: three reports that did not come."""
    return 3 * max(interval_ms, 10_000) * 1000


def node_state(driver_state: str, interval_ms: int, silence: int) -> NodeState:
    """The state of a node last heard `silence` µs ago. A driver that is absent, failed or hung is `driver_failed`."""
    if silence > silent_after(interval_ms):
        return NodeState.NOT_REPORTING
    return _OF_DRIVER.get(driver_state, NodeState.DRIVER_FAILED)


def gpu_state(node: NodeState, *, lost: bool, removed: bool) -> GpuState:
    """The state of a GPU in a node of state `node`."""
    if removed:
        return GpuState.REMOVED
    if lost and node not in UNSEEN:
        return GpuState.LOST
    return GpuState(node.value)
