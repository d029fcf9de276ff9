"""Times in µs: the server's own, and by how much an agent's clock is to be corrected."""

import time

from gpufleet_agent.wire import Clock

SECOND = 1_000_000
# Below this, what is measured is mostly the way a report took; it must not move timestamps.
DEAD_BAND = 1 * SECOND
LARGE = 5 * SECOND


def now() -> int:
    """The server's time, µs since the epoch."""
    return time.time_ns() // 1000


def measured_offset(created: Clock, sent: Clock, server_now: int) -> int:
    """Server minus agent time, µs, at the moment the report was closed.

    `sent` is the agent's clock when the request left. The time a report lay in the spool is taken from the uptime,
    which nobody sets; across a reboot only the wall clock is left, and a report is never made after it came.
    """
    lay = sent.uptime - created.uptime if sent.boot == created.boot else sent.wall - created.wall
    return server_now - max(lay, 0) - created.wall


def applied_offset(applied: int, measured: int) -> int:
    """The offset to correct with from now on, µs: steady while the measured one moves within the dead band."""
    if abs(measured) < DEAD_BAND:
        return 0
    return measured if abs(measured - applied) > DEAD_BAND else applied


def turned_large(before: int, after: int) -> bool:
    """Whether a correction became so large that someone should be told."""
    return abs(after) > LARGE >= abs(before)
