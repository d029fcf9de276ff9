"""What goes into the next request: one report, or many that wait, joined."""

from __future__ import annotations

from dataclasses import dataclass

from gpufleet_agent.runtime.joining import Joined, same_clock
from gpufleet_agent.runtime.spool import Entry, Spool
from gpufleet_agent.wire import MAX_JOINED, Ack, Clock, Report, WireError, decode, encode

# A server believes that a clock is a little off when so many reports in a row say so, and joined ones have no say.
ALONE = 3
# An answer within these seconds, and the next request may be twice as large.
_QUICK = 3.0


@dataclass(frozen=True)
class Parcel:
    """A request: the reports that are in it, oldest first, and its body."""

    entries: list[Entry]
    body: bytes

    @property
    def seq(self) -> int:
        """The number under which the server answers."""
        return self.entries[-1].seq

    @property
    def is_joined(self) -> bool:
        """Whether there is more than one report in it."""
        return len(self.entries) > 1


class Packer:
    """Makes parcels of what waits: of one report at first, then of twice as many each time, as long as that goes well.

    Never of more than one where the server has not said that it takes such.
    """

    def __init__(self, spool: Spool, alone: int = ALONE) -> None:
        """`alone`: how many go alone when the clock was set or the server gone."""
        self._spool, self._wanted_alone = spool, alone
        self._most = 1
        self._clock: Clock | None = None
        # Reports that went alone since the clock was set, or the server gone.
        self._alone = 0
        # Whether the server had the last ones already; the next it may have too, and measures nothing by them.
        self._again = False

    def pack(self, head: Entry) -> Parcel:
        """The oldest report, and those behind it that can go with it. OSError where it cannot be read."""
        body = head.read()
        first = _decoded(body)
        if first is None:
            return Parcel([head], body)
        if self._clock is None or not same_clock(first.created, self._clock):
            self._clock, self._alone = first.created, 0
        if self._alone < self._wanted_alone and not self._again:
            return Parcel([head], body)
        entries, joined = [head], Joined(first)
        for entry in self._spool.heads(self._most)[1:]:
            report = _read(entry)
            if report is None or not joined.add(report):
                break
            entries.append(entry)
        return Parcel(entries, body if len(entries) == 1 else encode(joined.report()))

    def succeed(self, parcel: Parcel, ack: Ack, seconds: float) -> None:
        """The server has them; it took so long to say so."""
        if not ack.joins:
            self._most = 1
        elif seconds < _QUICK:
            self._most = min(2 * self._most, MAX_JOINED)
        self._again = ack.duplicate
        if not (parcel.is_joined or ack.duplicate):
            self._alone += 1

    def get_past(self) -> None:
        """What the server had already is gone; what comes next it does not have."""
        self._again = False

    def fail(self, parcel: Parcel) -> None:
        """No answer came, or none that says anything of the reports: what is sent next is smaller."""
        self.shrink(parcel)
        self._alone = 0

    def shrink(self, parcel: Parcel) -> None:
        """They are not taken like this: half as many next time."""
        self._most = max(1, len(parcel.entries) // 2)


def _read(entry: Entry) -> Report | None:
    try:
        return _decoded(entry.read())
    except OSError:
        return None


def _decoded(body: bytes) -> Report | None:
    """The report; None where the server has to say what is wrong with it."""
    try:
        return decode(body)
    except WireError:
        return None
