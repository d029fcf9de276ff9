"""From readings of a counter to increments: baseline, wrap, reset. No driver in it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counter:
    """One counter that only grows, until it wraps at `bits` or starts again from zero."""

    bits: int = 64
    last: int | None = None
    at: float = 0.0
    has_wrapped: bool = False

    def advance(self, reading: int, at: float, most: float = float("inf")) -> tuple[int, float] | None:
        """What came on top since the reading before, and the seconds since then; None for the first reading.

        A counter that went back has wrapped if `most` a second allows that much, else it was reset and counts
        from zero.
        """
        last, since = self.last, self.at
        self.last, self.at = reading, at
        if reading >> self.bits:
            # Larger than the width it was thought to have: it does not wrap there.
            self.bits = 64
        if last is None:
            return None
        seconds = at - since
        if reading >= last:
            return reading - last, seconds
        wrapped = reading - last + (1 << self.bits)
        if self.bits == 64 or wrapped > most * seconds:
            return reading, seconds
        self.has_wrapped = True
        return wrapped, seconds


def rounds(increment: int, bits: int, expected: float) -> int:
    """`increment` plus as many whole rounds of a counter of `bits` as bring it nearest to what is expected."""
    missed = round((expected - increment) / (1 << bits))
    return increment + max(missed, 0) * (1 << bits)
