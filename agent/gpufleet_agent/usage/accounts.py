"""Gives each sample's time to those who held the GPUs in it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufleet_agent.backends.backend import GpuProcess, ProcessList, Tick
from gpufleet_agent.catalogue import BY_NAME, Reason, Use
from gpufleet_agent.usage.attribution import Attribution, Known
from gpufleet_agent.usage.entries import Entry, Place, Used
from gpufleet_agent.usage.holder import Holder as Workload
from gpufleet_agent.usage.parts import NO_PART, Part, parts
from gpufleet_agent.usage.use import use
from gpufleet_agent.wire import Gpu, Holder

TOO_MANY = Known(Workload(kind="unknown", absent={"workload": "there are more holders than are told apart"}))
NOBODY = Holder(kind="nobody")
# Percent of the time: less is not what a GPU is active for.
_ACTIVE = 1.0
# How far the beginning of a sample may be from the end of the one before it, µs: clocks are slewed.
_SLEWED = 100_000
# Well inside the wire's bounds.
_MOST_HOLDERS, _MOST_ENTRIES = 1024, 4096
_TEXT = 256
_FB_USED = BY_NAME["fb_used"]
_FREE_OR_UNKNOWN = (Use.FREE, Use.UNKNOWN)
_Identity = tuple[object, ...]


class _Told:
    """A process as it is told: its holder with the process's program."""

    __slots__ = ("holder", "identity", "known")

    def __init__(self, known: Known) -> None:
        self.known, self.holder = known, _told(known)
        self.identity = self.holder.identity


@dataclass(slots=True)
class _Described:
    """A holder that the parent knows by its number, as the process `told` with the id `pid` has it."""

    number: int
    holder: Holder
    pid: int | None
    told: _Told | None


@dataclass(slots=True)
class _Group:
    """A holder's processes in one place. `memory` in bytes, `sm` in percent, `started` the earliest, µs."""

    holder: Holder
    identity: _Identity
    # Of the process with the most memory.
    largest: int = -1
    pid: int | None = None
    told: _Told | None = None
    processes: int = 0
    memory: int | None = None
    sm: float | None = None
    started: int | None = None
    observed: int = 0
    active: int = 0
    held: int = 0

    def add(self, process: GpuProcess, told: _Told) -> None:
        """Count a process in."""
        self.processes += 1
        if process.memory is not None:
            self.memory = process.memory + (self.memory or 0)
        if process.sm is not None:
            self.sm = process.sm + (self.sm or 0.0)
        if (process.memory or 0) > self.largest:
            self.largest, self.pid, self.told, self.holder = process.memory or 0, process.pid, told, told.holder
        started = told.known.started or 0
        self.started = started if self.started is None else min(self.started, started)


class Accounts:
    """To be asked for every sample, in order: what was there in the sample before goes on."""

    def __init__(self, attribution: Attribution) -> None:
        self._attribution = attribution
        self._told: dict[int, _Told] = {}
        self._holders: dict[_Identity, _Described] = {}
        self._places: dict[Place, int] = {}
        self._there: Collection[tuple[Place, _Identity]] = ()
        self._end = self._numbers = 0
        self._gpus: Sequence[Gpu] | None = None
        self._parts: dict[Place, Part] = {}

    def used(self, lists: Sequence[ProcessList], tick: Tick | None, gpus: Sequence[Gpu]) -> Used | None:
        """Who had what part of the sample. `gpus` are those of the roster; the same list while they are the same."""
        if tick is None:
            return None
        if gpus is not self._gpus:
            self._gpus, self._parts = gpus, parts(gpus)
        self._meet(self._attribution.look(lists))
        begin = tick.at - tick.duration * 1000
        goes_on = abs(self._end - begin) <= _SLEWED
        begin, before = (self._end, self._there) if goes_on else (begin, ())
        found = self._divided(lists, tick, before)
        self._end, self._there = tick.at, {(place, group.identity) for place, group in found}
        places = self._number(dict.fromkeys(place for place, _ in found))
        holders = self._describe(group for _, group in found)
        entries = [_entry(group, self._places[place], self._holders[group.identity].number) for place, group in found]
        return Used(begin=min(begin, tick.at), entries=entries, places=places, holders=holders)

    def _meet(self, seen: Mapping[int, Known]) -> None:
        told = {pid: self._as_told(pid, known) for pid, known in seen.items()}
        if len({one.identity for one in told.values()}) > _MOST_HOLDERS:
            # That is no load but a fault, or malice: all of them together stay visible.
            told = dict.fromkeys(told, _Told(TOO_MANY))
        self._told = told

    def _as_told(self, pid: int, known: Known) -> _Told:
        before = self._told.get(pid)
        return before if before is not None and before.known is known else _Told(known)

    def _divided(
        self, lists: Sequence[ProcessList], tick: Tick, before: Collection[tuple[Place, _Identity]]
    ) -> list[tuple[Place, _Group]]:
        uses = {uuid: _use(tick.columns, row) for row, uuid in enumerate(tick.gpus)}
        uses |= {uuid: _use(tick.partition_columns, row) for row, uuid in enumerate(tick.partitions)}
        left = dict(self._parts)
        taken = {left.get((each.gpu, each.partition), NO_PART).instance for each in lists if each.processes}
        found = []
        for each in lists:
            used_for, memory = uses.get(each.partition or each.gpu, (Use.UNKNOWN, None))
            place = each.gpu, each.partition
            # A place that comes up twice has its part of the time only once.
            part = left.pop(place, NO_PART)
            groups = self._groups(each, used_for)
            if not (groups or each.reason or used_for in _FREE_OR_UNKNOWN or part.instance in taken):
                groups = [_Group(NOBODY, NOBODY.identity, memory=memory)]
            for group in groups:
                there = (place, group.identity) in before
                group.observed = tick.duration if there else _observed(group.started, tick)
            divide(groups, used_for, part, tick.duration)
            found += [(place, group) for group in groups]
        return found[:_MOST_ENTRIES]

    def _groups(self, found: ProcessList, used_for: Use) -> list[_Group]:
        """The holders in one place, with the one that stands for those that are not known."""
        groups: dict[_Identity, _Group] = {}
        for process in found.processes:
            told = self._told[process.pid]
            group = groups.get(told.identity)
            if group is None:
                group = groups[told.identity] = _Group(told.holder, told.identity)
            group.add(process, told)
        if found.reason not in (None, Reason.LOST.word) and used_for is not Use.FREE:
            missing = Holder(kind="unknown", absent={"processes": str(found.reason)[:_TEXT]})
            groups.setdefault(missing.identity, _Group(missing, missing.identity))
        return list(groups.values())

    def _number(self, places: Iterable[Place]) -> dict[int, Place]:
        """Number the places, and forget those that are not there; the new ones by their number."""
        before = self._places
        self._places = {place: before.get(place) or self._next() for place in places}
        return {number: place for place, number in self._places.items() if place not in before}

    def _describe(self, groups: Iterable[_Group]) -> dict[int, Holder]:
        """Number the holders, and forget those that are not there; those that are new or told otherwise."""
        largest: dict[_Identity, _Group] = {}
        for group in groups:
            other = largest.get(group.identity)
            if other is None or group.largest > other.largest:
                largest[group.identity] = group
        before = self._holders
        self._holders = {key: self._described(group, before.get(key)) for key, group in largest.items()}
        known = {described.number: described.holder for described in before.values()}
        now = {described.number: described.holder for described in self._holders.values()}
        return {number: holder for number, holder in now.items() if known.get(number) is not holder}

    def _described(self, group: _Group, before: _Described | None) -> _Described:
        """As before while the process is there that it was described by: two alike would take turns else."""
        if before is None:
            return _Described(self._next(), group.holder, group.pid, group.told)
        if before.told is None or self._told.get(before.pid or 0) is before.told:
            return before
        holder = before.holder if group.holder == before.holder else group.holder
        return _Described(before.number, holder, group.pid, group.told)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


def divide(groups: Sequence[_Group], used_for: Use, part: Part, duration: int) -> None:
    """Give the place's part of the time (ms) to its holders: to those that ran something, else to all alike."""
    if used_for in _FREE_OR_UNKNOWN or not duration:
        return
    whole = int(duration * part.end) - int(duration * part.begin)
    active = [group for group in groups if group.sm is not None and group.sm >= _ACTIVE]
    takers = active if used_for is Use.ACTIVE and active else groups
    for number, group in enumerate(takers):
        # Cut so that the parts add up to the whole.
        time = whole * (number + 1) // len(takers) - whole * number // len(takers)
        time = min(time, whole * group.observed // duration)
        if used_for is Use.ACTIVE:
            group.active = time
        else:
            group.held = time


def _use(columns: Mapping[str, Sequence[int]], row: int) -> tuple[Use, int | None]:
    """What a GPU or partition was used for, and how many bytes of its memory were in use."""
    memory = _FB_USED.value(columns["fb_used"][row]) if "fb_used" in columns else None
    return use(columns, row), None if memory is None else int(memory)


def _observed(started: int | None, tick: Tick) -> int:
    """How long (ms) of the sample a holder that is new in it was there: since its earliest process started."""
    since = tick.duration if not started else (tick.at - started) // 1000
    return min(max(since, 0), tick.duration)


def _entry(group: _Group, place: int, holder: int) -> Entry:
    return Entry(
        place=place,
        holder=holder,
        observed=group.observed,
        active=group.active,
        held=group.held,
        memory=None if group.memory is None else group.memory >> 10,
        activity=None if group.sm is None else min(round(group.sm * 100), 10_000),
        processes=group.processes,
    )


def _told(known: Known) -> Holder:
    """The holder as the wire has it: a Slurm step's tasks are one."""
    fields: dict[str, Any] = {name: getattr(known.holder, name) for name in _FIELDS}
    cut: dict[str, Any] = {name: value[:_TEXT] if isinstance(value, str) else value for name, value in fields.items()}
    absent = {name: reason[:_TEXT] for name, reason in known.holder.absent.items()}
    return Holder(**cut, command=known.command and known.command[:_TEXT], absent=absent)


_FIELDS = tuple(name for name in Holder.__struct_fields__ if name not in ("command", "absent"))
