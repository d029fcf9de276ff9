"""What goes wrong in a simulated fleet, and when: a pure function of the plan, so that tests know it too."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

SECOND = 1_000_000


class FaultKind(enum.Enum):
    """A kind of fault."""

    XID = "xid"
    LOST = "gpu lost"
    UNCORRECTED = "uncorrected memory error"
    SILENT = "node silent"
    HOT = "node hot"
    DRIVER = "driver unresponsive"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from `start` until before `end` (µs since the epoch, None: for good).

    `gpu` is an index in the node. An XID of `code` happens at `start` and, with `every` (µs), again and again.
    """

    kind: FaultKind
    start: int
    end: int | None = None
    gpu: int | None = None
    code: int | None = None
    every: int | None = None

    def active(self, at: int) -> bool:
        """Whether it holds at this time."""
        return self.start <= at and (self.end is None or at < self.end)

    def times(self, after: int, until: int) -> Iterator[int]:
        """When it happens within (after, until]."""
        if self.every is None:
            yield from (self.start,) if after < self.start <= until else ()
            return
        first = self.start + max(0, -(-(after + 1 - self.start) // self.every)) * self.every
        yield from range(first, until + 1, self.every)


XID_TEXT = {
    13: "Graphics Engine Exception",
    31: "GPU memory page fault",
    43: "GPU stopped processing",
    48: "Double Bit ECC Error",
    63: "Row remapping event",
    79: "GPU has fallen off the bus",
    94: "Contained memory error",
}
