"""The usage intervals of an open report: what its ticks say of the holders, added up."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from gpufleet_agent.runtime.frames import Ticked
from gpufleet_agent.usage.entries import Entry, Place, Used
from gpufleet_agent.wire import Holder, Usage


@dataclass(slots=True)
class _Piece:
    """One interval. Times in µs, other times in ms; `memory` in KiB × ms, `activity` in basis points × ms."""

    begin: int
    end: int
    observed: int = 0
    active: int = 0
    held: int = 0
    memory: int = 0
    memory_observed: int = 0
    memory_most: int = 0
    activity: int = 0
    activity_observed: int = 0
    processes: int = 0

    def add(self, entry: Entry, end: int) -> None:
        """Go on until the end of a tick."""
        self.end = end
        self.observed += entry.observed
        self.active += entry.active
        self.held += entry.held
        if entry.memory is not None:
            # A tick in which it was there for no whole millisecond counts too.
            time = entry.observed or 1
            self.memory += entry.memory * time
            self.memory_observed += time
            self.memory_most = max(self.memory_most, entry.memory)
        if entry.activity is not None:
            time = entry.observed or 1
            self.activity += entry.activity * time
            self.activity_observed += time
        self.processes = max(self.processes, entry.processes)

    def usage(self, place: Place, holder: int) -> Usage:
        """As it goes on the wire."""
        known, ran = self.memory_observed, self.activity_observed
        return Usage(
            gpu=place[0],
            partition=place[1],
            holder=holder,
            begin=self.begin,
            end=self.end,
            observed=self.observed,
            active=self.active,
            held=self.held,
            memory=(self.memory << 10) // known if known else None,
            memory_most=self.memory_most << 10 if known else None,
            activity=self.activity // ran if ran else None,
            processes=self.processes,
        )


class Holders:
    """The holders of a report, each once."""

    def __init__(self) -> None:
        self.all: list[Holder] = []
        self._places: dict[tuple[object, ...], int] = {}

    def add(self, holder: Holder) -> int:
        """Its place in `all`. What is told of it now counts."""
        place = self._places.setdefault(holder.identity, len(self.all))
        if place == len(self.all):
            self.all.append(holder)
        self.all[place] = holder
        return place


class Pieces:
    """Takes ticks in their order."""

    def __init__(self) -> None:
        self._holders = Holders()
        self._pieces: list[tuple[Place, int, _Piece]] = []
        self._open: dict[tuple[Place, int], _Piece] = {}
        # What the ticks so far have described, by the numbers that the reader has for it now.
        self.places: dict[int, Place] = {}
        self.described: dict[int, Holder] = {}
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def holders(self) -> list[Holder]:
        """Each once."""
        return self._holders.all

    def usage(self) -> list[Usage]:
        """All pieces, as they go on the wire."""
        return [piece.usage(place, holder) for place, holder, piece in self._pieces]

    def add(self, tick: Ticked) -> None:
        """Add what a tick says of its holders."""
        used = tick.used
        if used is None:
            return
        self.places.update(used.places)
        for number, holder in used.holders.items():
            self.described[number], self._numbers[number] = holder, self._holders.add(holder)
        for entry in used.entries:
            if entry.place in self.places and entry.holder in self._numbers:
                self._add(entry, self.places[entry.place], self._numbers[entry.holder], tick, used.begin)

    def _add(self, entry: Entry, place: Place, holder: int, tick: Ticked, begin: int) -> None:
        """It goes on where the tick before showed it too: else what is seen now begins now, and what was is over."""
        begin = begin if entry.observed == tick.duration else max(begin, tick.at - entry.observed * 1000)
        piece = self._open.get((place, holder))
        if piece is None or piece.end != begin:
            piece = self._open[place, holder] = _Piece(begin, tick.at)
            self._pieces.append((place, holder, piece))
        piece.add(entry, tick.at)


class Descriptions:
    """What the reader has described of its numbers, to be repeated where a journal has it not."""

    def __init__(self) -> None:
        self._places: dict[int, Place] = {}
        self._holders: dict[int, Holder] = {}

    def complete(self, used: Used, pieces: Pieces) -> None:
        """Take in what is new in a tick, and have the tick describe all that `pieces` would not know."""
        self._places.update(used.places)
        self._holders.update(used.holders)
        # What a tick does not name is never named again.
        numbers = {entry.holder for entry in used.entries}
        self._holders = {number: holder for number, holder in self._holders.items() if number in numbers}
        numbers = {entry.place for entry in used.entries}
        self._places = {number: place for number, place in self._places.items() if number in numbers}
        places, holders = pieces.places, pieces.described
        used.places = {number: place for number, place in self._places.items() if places.get(number) != place}
        used.holders = {n: holder for n, holder in self._holders.items() if holders.get(n) is not holder}


class Strung:
    """The usage of reports that follow each other: pieces of which each begins where the one before ends are one."""

    def __init__(self) -> None:
        self._holders = Holders()
        self._usage: list[Usage] = []
        self._last: dict[tuple[str, str | None, int], int] = {}

    def __len__(self) -> int:
        return len(self._usage)

    @property
    def holders(self) -> list[Holder]:
        """Each once, as it was told last."""
        return self._holders.all

    @property
    def usage(self) -> list[Usage]:
        """All pieces."""
        return self._usage

    def add(self, holders: list[Holder], usage: list[Usage]) -> None:
        """Append what a report says."""
        numbers = [self._holders.add(holder) for holder in holders]
        for given in usage:
            key = given.gpu, given.partition, numbers[given.holder]
            last = self._last.get(key)
            piece = replace(given, holder=key[2])
            if last is not None and piece.begin <= self._usage[last].end:
                self._usage[last] = _strung(self._usage[last], piece)
            else:
                self._last[key] = len(self._usage)
                self._usage.append(piece)


def _strung(before: Usage, after: Usage) -> Usage:
    return replace(
        after,
        begin=before.begin,
        end=max(before.end, after.end),
        observed=before.observed + after.observed,
        active=before.active + after.active,
        held=before.held + after.held,
        memory=_mean(before.memory, before.observed, after.memory, after.observed),
        memory_most=max((n for n in (before.memory_most, after.memory_most) if n is not None), default=None),
        activity=_mean(before.activity, before.observed, after.activity, after.observed),
        processes=max(before.processes, after.processes),
    )


def _mean(one: int | None, weight: int, other: int | None, other_weight: int) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    whole = weight + other_weight
    return (one * weight + other * other_weight) // whole if whole else one
