"""From a source's value to a stored integer: which source answers, what is believed, increments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.counters import Counter, rounds
from gpufleet_agent.backends.nvidia.fields import FieldSlot
from gpufleet_agent.backends.nvidia.library import LASTING
from gpufleet_agent.backends.nvidia.moment import Moment, Number, Reader, whole
from gpufleet_agent.backends.nvidia.sources import Binder, Links, Source
from gpufleet_agent.catalogue import BY_NAME, Kind, Metric, Reason
from gpufleet_agent.wire import Gpu

# How late a hardware counter may be brought up to date, s.
_LAG = 0.2
_UNLIMITED = float("inf")


@dataclass(frozen=True)
class Row:
    """How one metric of the catalogue is read.

    The first of `sources` that works is taken. One that is unsupported or not permitted is not asked again; one that
    fails otherwise is passed over until the next sample. What lies outside `least` to `most` (of a metric of kind
    increment: is more than `most` a second) is implausible. `most` may depend on the GPU.

    For a metric of kind increment the sources give a counter of `bits`, in units of which `convert` makes those of
    the metric, and `rates` give units a second where the counter is absent or not to be believed.
    """

    metric: str
    sources: tuple[Source, ...]
    least: float = 0
    most: float | Callable[[Gpu], float | None] | None = None
    bits: int = 64
    convert: Callable[[Number], Number] | None = None
    rates: tuple[Source, ...] = ()

    def bind(self, gpu: Binder) -> Callable[[Moment], int]:
        """What gives the stored integer of a moment, and never raises Reading."""
        most = self.most(gpu.identity) if callable(self.most) else self.most
        bound = Counted if BY_NAME[self.metric].kind is Kind.INCREMENT else Gauge
        return bound(self, gpu, _UNLIMITED if most is None else most).read


class Choice:
    """The sources of one metric of one GPU, bound one after the other as the ones before them fall away."""

    __slots__ = ("_gpu", "_unbound", "lasting", "readers")

    def __init__(self, sources: tuple[Source, ...], gpu: Binder) -> None:
        self.readers: list[Reader] = []
        self.lasting = Reason.UNSUPPORTED
        self._unbound, self._gpu = list(sources), gpu

    @property
    def is_over(self) -> bool:
        """Whether no source is left that could give a value."""
        return not self.readers and not self._unbound

    def read(self, moment: Moment, least: float, most: float, first: Reason | None = None) -> Number:
        """The first plausible value; `first` says why the first reader has none. Reading where no source has one."""
        at, reason = 0, None
        if first is not None and not self._drop(0, first):
            at, reason = 1, first
        while at < len(self.readers) or self._bind_next():
            try:
                value = self.readers[at](moment)
            except Reading as failed:
                if self._drop(at, failed.reason):
                    continue
                reason = failed.reason
            else:
                if least <= value <= most:
                    return value
                reason = Reason.IMPLAUSIBLE
            at += 1
        raise Reading(self.lasting if reason is None else reason)

    def _drop(self, at: int, reason: Reason) -> bool:
        if reason not in LASTING:
            return False
        self.lasting = max(self.lasting, reason)
        del self.readers[at]
        return True

    def _bind_next(self) -> bool:
        while self._unbound:
            try:
                self.readers.append(self._unbound.pop(0).bind(self._gpu))
            except Reading as failed:
                self.lasting = max(self.lasting, failed.reason)
            else:
                return True
        return False


class Gauge:
    """A metric whose value is what its source says."""

    __slots__ = ("_absent", "_choice", "_first", "_least", "_metric", "_most", "_store")

    def __init__(self, row: Row, gpu: Binder, most: float) -> None:
        self._metric, self._least, self._most = BY_NAME[row.metric], row.least, most
        self._store = self._metric.store
        self._choice = Choice(row.sources, gpu)
        self._first: Reader | None = None
        self._absent: int | None = None

    def read(self, moment: Moment) -> int:
        """The stored integer of this moment."""
        if self._first is None:
            return self._search(moment) if self._absent is None else self._absent
        try:
            value = self._first(moment)
        except Reading as failed:
            return self._search(moment, failed.reason)
        if self._least <= value <= self._most:
            return self._store(value)
        return self._search(moment, Reason.IMPLAUSIBLE)

    def _search(self, moment: Moment, first: Reason | None = None) -> int:
        """Off the beaten path: at the beginning, and where the source that worked so far has failed."""
        try:
            stored = self._store(self._choice.read(moment, self._least, self._most, first))
        except Reading as failed:
            stored = self._metric.absent(failed.reason)
        self._first = self._choice.readers[0] if self._choice.readers else None
        if self._choice.is_over:
            self._absent = stored
        return stored


class Counted:
    """A metric whose value is by how much counters grew; the counters of one source count together."""

    __slots__ = ("_absent", "_bits", "_convert", "_gpu", "_lasting", "_metric", "_most", "_parts", "_rates", "_unbound")

    def __init__(self, row: Row, gpu: Binder, most: float) -> None:
        self._metric, self._bits, self._convert, self._most = BY_NAME[row.metric], row.bits, row.convert, most
        self._parts: list[tuple[Reader, Counter]] = []
        self._unbound, self._gpu = list(row.sources), gpu
        self._rates = Choice(row.rates, gpu)
        self._lasting = Reason.UNSUPPORTED
        self._absent: int | None = None

    def read(self, moment: Moment) -> int:
        """The stored integer of this moment."""
        if self._absent is not None:
            return self._absent
        try:
            return self._metric.store(self._increment(moment))
        except Reading as failed:
            stored = self._metric.absent(failed.reason)
        if not self._parts and not self._unbound and self._rates.is_over:
            self._absent = stored
        return stored

    def _increment(self, moment: Moment) -> Number:
        while self._parts or self._bind_next():
            grown = self._advance(moment)
            if grown is not None:
                return grown
        return self._from_rate(moment, self._lasting)

    def _advance(self, moment: Moment) -> Number | None:
        """By how much the parts grew together; None once none of them is left."""
        grown, longest, reason = 0, 0.0, Reason.NOT_OBSERVED
        for part in tuple(self._parts):
            read, counter = part
            try:
                step = counter.advance(whole(read(moment)), moment.now, self._most)
            except Reading as failed:
                # Its baseline stays: what it counts meanwhile is part of its next increment.
                reason = failed.reason
                self._drop(part, reason)
                continue
            if step is not None:
                grown += self._unwrapped(step[0], part, moment)
                longest = max(longest, step[1])
        if not self._parts:
            return None
        if not longest:
            raise Reading(reason)
        return self._believe(grown, longest, moment)

    def _drop(self, part: tuple[Reader, Counter], reason: Reason) -> None:
        if reason in LASTING:
            self._lasting = max(self._lasting, reason)
            self._parts.remove(part)

    def _unwrapped(self, grown: int, part: tuple[Reader, Counter], moment: Moment) -> int:
        """A narrow counter may have gone round more than once: the rate tells how often, where there is one."""
        read, counter = part
        if counter.bits == 64:
            return grown
        is_narrow = counter.has_wrapped or (isinstance(read, FieldSlot) and read.is_narrow)
        if not is_narrow:
            return grown
        try:
            return rounds(grown, counter.bits, self._rates.read(moment, 0, self._most) * moment.seconds)
        except Reading:
            return grown

    def _believe(self, grown: int, seconds: float, moment: Moment) -> Number:
        value = grown if self._convert is None else self._convert(grown)
        if value <= self._most * (seconds + _LAG):
            return value
        return self._from_rate(moment, Reason.IMPLAUSIBLE)

    def _from_rate(self, moment: Moment, otherwise: Reason) -> Number:
        try:
            rate = self._rates.read(moment, 0, self._most)
        except Reading as failed:
            raise Reading(otherwise if failed.reason in LASTING else failed.reason) from None
        if not moment.seconds:
            raise Reading(Reason.NOT_OBSERVED)
        return rate * moment.seconds

    def _bind_next(self) -> bool:
        while self._unbound:
            source = self._unbound.pop(0)
            try:
                readers = source.parts(self._gpu) if isinstance(source, Links) else (source.bind(self._gpu),)
            except Reading as failed:
                self._lasting = max(self._lasting, failed.reason)
                continue
            self._parts = [(reader, Counter(self._bits)) for reader in readers]
            return True
        return False


def absent(metrics: tuple[Metric, ...], reason: Reason) -> list[int]:
    """One stored integer a metric that says it is absent."""
    return [metric.absent(reason) for metric in metrics]
