"""Times in µs: the server's own, and by how much an agent's clock is to be corrected."""

import time
from dataclasses import dataclass

from gpufleet_agent.wire import Clock

SECOND = 1_000_000
# Below this, what is measured is mostly the way a report took; it must not move timestamps.
DEAD_BAND = 1 * SECOND
LARGE = 5 * SECOND
# No request waits longer than this for its answer.
LONGEST_WAY = 30 * SECOND
IN_A_ROW = 3


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


@dataclass(frozen=True, slots=True)
class Correction:
    """What an agent's times are corrected by: `applied`, µs. `higher` are the last measurements, if well above it.

    The way of a report only ever adds to what is measured. So a lower measurement is believed at once; a higher one
    when it is beyond any way, or when reports in a row say so.
    """

    applied: int
    higher: tuple[int, ...] = ()

    def after(self, measured: int, *, large: bool = False) -> "Correction":
        """The correction once another offset was measured, µs. It stays while that is within the dead band.

        A `large` report may have been long on its way, and so may those after it: it does not count in a row.
        """
        if measured < self.applied - DEAD_BAND:
            return Correction(_settled(measured))
        if measured <= self.applied + DEAD_BAND:
            return Correction(self.applied)
        if large and measured <= self.applied + LONGEST_WAY:
            return self
        higher = (*self.higher, measured)
        if len(higher) >= IN_A_ROW or min(higher) > self.applied + LONGEST_WAY:
            return Correction(_settled(min(higher)))
        return Correction(self.applied, higher)


def _settled(offset: int) -> int:
    return 0 if abs(offset) < DEAD_BAND else offset


def turned_large(before: int, after: int) -> bool:
    """Whether a correction became so large that someone should be told."""
    return abs(after) > LARGE >= abs(before)
