"""What a simulated fleet has done and how long the server took, in memory that does not grow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# Ten bins to the factor 2 are 7 % each: from 0.1 ms up, 240 of them reach beyond a quarter of an hour.
_FIRST_MS, _A_DOUBLING, _BINS = 0.1, 10, 240


@dataclass(slots=True)
class Latency:
    """A histogram of times, exact to 7 %."""

    counts: list[int] = field(default_factory=lambda: [0] * _BINS)

    def add(self, seconds: float) -> None:
        """Count one."""
        ms = seconds * 1000
        place = 0 if ms <= _FIRST_MS else int(math.log2(ms / _FIRST_MS) * _A_DOUBLING) + 1
        self.counts[min(place, _BINS - 1)] += 1

    def quantile(self, share: float) -> float | None:
        """The ms that so many of them were within; None where there are none."""
        left = share * sum(self.counts)
        if not left:
            return None
        for place, count in enumerate(self.counts):
            left -= count
            if left <= 0:
                return float(_FIRST_MS * 2.0 ** (place / _A_DOUBLING))
        return float(_FIRST_MS * 2.0 ** ((_BINS - 1) / _A_DOUBLING))

    def since(self, before: Latency) -> Latency:
        """What came after an earlier copy of it."""
        return Latency([now - then for now, then in zip(self.counts, before.counts, strict=True)])

    def copy(self) -> Latency:
        """As it is now."""
        return Latency(list(self.counts))


@dataclass(slots=True)
class Tally:
    """What the agents made, what the server said is committed, and what waits to be.

    `reports`, `samples` (of a GPU each), `events` and `values` (absent ones left out) are committed; `unavailable`
    counts answers 503, `not_enrolled` those that refuse the join token, `retries` requests that were sent again;
    `making` is CPU seconds spent on sampling and encoding, as against all that is spent on HTTP. `trouble` is what
    went wrong last, empty since a report was taken.
    """

    made: int = 0
    reports: int = 0
    samples: int = 0
    values: int = 0
    events: int = 0
    duplicates: int = 0
    waiting: int = 0
    dropped: int = 0
    retries: int = 0
    unavailable: int = 0
    enrolled: int = 0
    not_enrolled: int = 0
    body_bytes: int = 0
    making: float = 0.0
    trouble: str = ""
    latency: Latency = field(default_factory=Latency)
