"""How a range of time is cut into steps. Pure."""

import dataclasses

from gpufleet_server.domain.problem import Problem

MAX_POINTS = 11_000
MIN_STEP = 1_000_000
MAX_STEP = 366 * 86_400 * 1_000_000
_WANTED_POINTS = 300
_ROUND_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400)


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """Buckets (k·step, (k+1)·step] of the epoch that overlap (start, end], µs: a sample belongs where it ended."""

    start: int
    end: int
    step: int

    @property
    def first(self) -> int:
        """The number of the first bucket."""
        return self.start // self.step

    def __len__(self) -> int:
        return -(-self.end // self.step) - self.first if self.end > self.start else 0

    def until(self, end: int) -> "Grid":
        """The same grid, ending at `end` where it would go on; empty where it begins after that."""
        return dataclasses.replace(self, end=max(self.start, min(self.end, end)))

    def begins(self) -> list[int]:
        """When each bucket begins."""
        return [(self.first + number) * self.step for number in range(len(self))]

    def edges(self, number: int) -> tuple[int, int]:
        """The part of a bucket inside the range."""
        begin = (self.first + number) * self.step
        return max(begin, self.start), min(begin + self.step, self.end)


def grid(start: int, end: int, step: int | None, interval_ms: int) -> Grid:
    """The grid of a range; without a step, one of few and round buckets. Problem 422 names `step` or `end`."""
    if step is None:
        return Grid(start, end, _fitting(start, end, interval_ms * 1000))
    if not MIN_STEP <= step <= MAX_STEP:
        raise Problem(422, f"a step of {step / 1e6:g} s is not within 1 s and 366 days", "step")
    chosen = Grid(start, end, step)
    if len(chosen) > MAX_POINTS:
        raise Problem(422, f"{len(chosen)} points of {step / 1e6:g} s are more than {MAX_POINTS}", "step")
    return chosen


def _fitting(start: int, end: int, interval: int) -> int:
    rounds = [seconds * 1_000_000 for seconds in _ROUND_S]
    days = -(-(end - start) // (_WANTED_POINTS - 1) // rounds[-1])
    enough = [step for step in rounds if step >= interval and len(Grid(start, end, step)) <= _WANTED_POINTS]
    # Where the interval divides the step every bucket holds as many samples.
    even = [step for step in enough if step % interval == 0]
    return (even or enough or [max(days, 1) * rounds[-1]])[0]
