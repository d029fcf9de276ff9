"""One XID told by two sources is one event: the first is told at once, the second confirms it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from gpufleet_agent.wire import XID_CONFIRMED, Event

# How far apart two sources may tell the same, µs. A driver that hangs keeps one of them waiting.
WINDOW = 10_000_000
_MOST = 1000


class Pairing:
    """Remembers for a while what each source told and no other has. Each event confirms one at most.

    So a fault that came three times is three events, whether one source tells of all of them or both do.
    """

    def __init__(self, told: Sequence[Event] = ()) -> None:
        """Go on from what an earlier run told last."""
        self._waiting: dict[tuple[str, int], deque[Event]] = {}
        confirmed = {(event.gpu, event.code, event.at) for event in told if event.kind == XID_CONFIRMED}
        self.take([event for event in told if (event.gpu, event.code, event.at) not in confirmed])

    def take(self, events: Sequence[Event]) -> list[Event]:
        """The events, but a confirmation in the place of each that another source has told already."""
        return [self._pair(event) for event in events]

    def _pair(self, event: Event) -> Event:
        if event.kind != "xid" or event.gpu is None or event.code is None:
            return event
        key = (event.gpu, event.code)
        waiting = self._waiting.setdefault(key, deque(maxlen=_MOST))
        while waiting and event.at - waiting[0].at > WINDOW:
            waiting.popleft()
        first = None
        if waiting and waiting[0].source != event.source:
            first = next((one for one in waiting if _is_same(one, event)), None)
        if first is None:
            waiting.append(event)
            self._forget(event.at)
            return event
        waiting.remove(first)
        return confirmation(first, event)

    def _forget(self, now: int) -> None:
        old = [key for key, waiting in self._waiting.items() if not waiting or now - waiting[-1].at > WINDOW]
        for key in old:
            del self._waiting[key]


def _is_same(one: Event, other: Event) -> bool:
    return one.source != other.source and abs(one.at - other.at) <= WINDOW


def confirmation(first: Event, second: Event) -> Event:
    """What says that `second` is `first` once more: the same GPU, code and time, and what the second adds to it."""
    return Event(
        at=first.at,
        kind=XID_CONFIRMED,
        gpu=first.gpu,
        partition=second.partition,
        code=first.code,
        source=second.source,
        message=second.message,
        detail={**second.detail, "confirms": first.source, "told_at": second.at},
    )
