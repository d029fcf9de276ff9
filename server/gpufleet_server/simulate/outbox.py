"""What an agent has to tell, oldest first, in as little memory as hours without a server allow.

A report is written when its turn comes, not when it is closed: what was sampled is a pure function of the time. So
reports that follow each other evenly are kept as one run, however many they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gpufleet_agent.wire import Backlog, State

from gpufleet_server.simulate.reports import Closed


@dataclass(slots=True)
class _Run:
    """`count` reports: this one, then one each `every` µs that has neither states nor a roster."""

    first: Closed
    count: int

    def last_until(self, every: int) -> int:
        return self.first.until + (self.count - 1) * every

    def advance(self, count: int, every: int, size: int) -> None:
        self.first = self.at(count, every, size)
        self.count -= count

    def at(self, number: int, every: int, size: int) -> Closed:
        if number == 0:
            return self.first
        until = self.first.until + number * every
        before = self.first.backlog
        ahead = before.reports + number
        backlog = Backlog(reports=ahead, bytes=ahead * size, dropped=before.dropped)
        return Closed(self.first.seq + number, until - every, until, backlog)

    def joined(self, count: int, every: int, size: int) -> Closed:
        """The first `count` reports as one."""
        last = self.at(count - 1, every, size)
        return replace(last, first_seq=self.first.seq, since=self.first.since)


class Outbox:
    """Closed reports of one agent. `every` (µs) is the usual time between two."""

    __slots__ = ("_every", "_next_seq", "_runs", "dropped", "size", "until", "waiting")

    def __init__(self, every: int, until: int) -> None:
        """What follows `until` (true time, µs) has not been reported yet."""
        self._every, self.until = every, until
        self._runs: deque[_Run] = deque()
        self._next_seq = 1
        self.waiting = self.dropped = 0
        # Bytes of one report, as the last one was.
        self.size = 0

    def close(self, until: int, states: Sequence[State] = (), *, with_roster: bool = False) -> None:
        """Close a report as of `until`."""
        backlog = Backlog(reports=self.waiting, bytes=self.waiting * self.size, dropped=self.dropped)
        closed = Closed(self._next_seq, self.until, until, backlog, states, with_roster)
        last = self._runs[-1] if self._runs else None
        if last is not None and self._follows(last, closed):
            last.count += 1
        else:
            self._runs.append(_Run(closed, 1))
        self.until = until
        self._next_seq += 1
        self.waiting += 1

    def begin_with(self, count: int) -> None:
        """`count` reports, one each `every`, are there from before: the last one ends where the next begins."""
        if count:
            begin = self.until - count * self._every
            self._runs.append(_Run(Closed(1, begin, begin + self._every, Backlog(), with_roster=True), count))
            self._next_seq, self.waiting = count + 1, count

    def heads(self, most: int) -> Iterator[Closed]:
        """The oldest reports of the first run, `most` at most."""
        if self._runs:
            run = self._runs[0]
            for number in range(min(most, run.count)):
                yield run.at(number, self._every, self.size)

    def joined(self, most: int) -> tuple[Closed, int]:
        """The oldest reports of the first run as one, and how many they are: `most`, where that can be.

        One with states or a roster goes alone. IndexError where there is none.
        """
        run = self._runs[0]
        count = 1 if run.first.states or run.first.with_roster else min(most, run.count)
        return (run.joined(count, self._every, self.size) if count > 1 else run.first), count

    def pop(self, count: int = 1) -> None:
        """Forget the oldest reports, all of one run. IndexError where there is none."""
        run = self._runs[0]
        if run.count == count:
            self._runs.popleft()
        else:
            run.advance(count, self._every, self.size)
        self.waiting -= count

    def drop(self) -> None:
        """Give up the oldest report."""
        self.pop()
        self.dropped += 1

    def skip(self, until: int) -> None:
        """Let the time until then go by unobserved: nothing is sampled and no event is seen."""
        self.until = until

    def _follows(self, run: _Run, closed: Closed) -> bool:
        even = closed.since == run.last_until(self._every) and closed.until == closed.since + self._every
        plain = not closed.states and not closed.with_roster
        ahead = run.first.backlog.reports + run.count == closed.backlog.reports
        return even and plain and ahead and run.first.backlog.dropped == self.dropped
