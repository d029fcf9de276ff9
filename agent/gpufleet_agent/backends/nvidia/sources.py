"""The kinds of source a metric can be read from, each bound to one GPU before the first sample."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_uint
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.counters import Counter
from gpufleet_agent.backends.nvidia.fields import FieldBatch
from gpufleet_agent.backends.nvidia.gpm import Gpm
from gpufleet_agent.backends.nvidia.library import INSUFFICIENT_SIZE, Handle, ask, failure, function
from gpufleet_agent.backends.nvidia.moment import Moment, Number, Reader, whole
from gpufleet_agent.backends.nvidia.ring import RingBuffer
from gpufleet_agent.backends.nvidia.structs import Process
from gpufleet_agent.catalogue import Reason
from gpufleet_agent.wire import Gpu

Convert = Callable[[Number], Number]


@dataclass(frozen=True)
class Call:
    """One C function of NVML: its arguments between the handle and what it fills; `version` of the struct filled."""

    name: str
    fills: tuple[type[Any], ...] = (c_uint,)
    arguments: tuple[int, ...] = ()
    version: int = 0


class Binder:
    """What the sources of one GPU share: its handle and identity, calls made once a moment, fields, GPM.

    `parts` are the partitions of a GPU that MIG cuts, there may be none yet; None where it does not. `lacking` says why
    some of them may be missing.
    """

    def __init__(
        self,
        handle: Handle,
        identity: Gpu,
        driver: int,
        parts: tuple[Part, ...] | None = None,
        lacking: Reason | None = None,
    ) -> None:
        self.handle, self.identity, self.driver, self.parts, self.lacking = handle, identity, driver, parts, lacking
        self._calls: dict[Call, BoundCall] = {}
        self._counts: dict[str, Reader] = {}
        self._fields: FieldBatch | None = None
        self._gpm: Gpm | None = None

    def call(self, call: Call) -> BoundCall:
        """The one bound call for this description."""
        if call not in self._calls:
            self._calls[call] = BoundCall(call, self.handle)
        return self._calls[call]

    def all_parts(self) -> tuple[Part, ...]:
        """Its partitions. Reading where MIG does not cut it, or not all of them can be read."""
        if self.parts is None or self.lacking is not None:
            raise Reading(Reason.UNSUPPORTED if self.lacking is None else self.lacking)
        return self.parts

    def process_count(self, name: str) -> Reader:
        """How many processes the list has that a function of this name gives."""
        if name not in self._counts:
            self._counts[name] = _Count(name, self.handle)
        return self._counts[name]

    @property
    def fields(self) -> FieldBatch:
        """This GPU's field values."""
        if self._fields is None:
            self._fields = FieldBatch(self.handle)
        return self._fields

    @property
    def gpm(self) -> Gpm:
        """This GPU's GPM. Reading where it has none."""
        if self._gpm is None:
            self._gpm = Gpm(self.handle)
        return self._gpm

    def close(self) -> None:
        """Free what NVML holds for this GPU."""
        if self._gpm is not None:
            self._gpm.close()
        for part in self.parts or ():
            part.close()


class Instance:
    """A GPU instance of the GPU behind a handle, whose GPM is of all its compute instances together."""

    def __init__(self, board: Handle, number: int) -> None:
        self._board, self._number = board, number
        self._gpm: Gpm | None = None

    @property
    def gpm(self) -> Gpm:
        """Its GPM. Reading where it has none."""
        if self._gpm is None:
            self._gpm = Gpm(self._board, self._number)
        return self._gpm

    def close(self) -> None:
        """Free what NVML holds for it."""
        if self._gpm is not None:
            self._gpm.close()
            self._gpm = None


class Part(Binder):
    """The same of a partition. Its identity is the GPU's, but for its own UUID and memory.

    `share` is its wire.Partition's; `leads` is true of one partition of each GPU instance, whose memory counts once.
    """

    def __init__(
        self, handle: Handle, identity: Gpu, driver: int, instance: Instance, share: float | None, leads: bool
    ) -> None:
        super().__init__(handle, identity, driver)
        self._instance, self.share, self.leads = instance, share, leads

    @property
    def gpm(self) -> Gpm:
        """Its GPU instance's GPM."""
        return self._instance.gpm

    def close(self) -> None:
        """Free what NVML holds for its GPU instance."""
        self._instance.close()


class Source(Protocol):
    """Something that a metric can be read from."""

    def bind(self, gpu: Binder) -> Reader:
        """The reader for one GPU. Reading where this can never be read from it."""
        ...


class BoundCall:
    """A call with its arguments and the cells it fills, ready to be made again and again."""

    __slots__ = ("_code", "_is_argued", "_moment", "_run", "cells")

    def __init__(self, call: Call, handle: Handle) -> None:
        self.cells = tuple(kind() for kind in call.fills)
        if call.version:
            self.cells[0].version = call.version << 24 | ctypes.sizeof(self.cells[0])
        self._run = partial(function(call.name), handle, *call.arguments, *map(byref, self.cells))
        self._is_argued = bool(call.arguments)
        self._moment: Moment | None = None
        self._code = 0

    def fetch(self, moment: Moment) -> None:
        """Make the call, unless this moment's answer is here already."""
        if self._moment is not moment:
            self._moment, self._code = moment, self._run()
        if self._code:
            raise failure(self._code, self._is_argued)


@dataclass(frozen=True)
class Get:
    """A member of the cell that a call fills."""

    call: Call
    member: str = "value"
    convert: Convert | None = None
    cell: int = 0

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        call = gpu.call(self.call)
        fetch, cell, member, convert = call.fetch, call.cells[self.cell], self.member, self.convert

        def read(moment: Moment) -> Number:
            fetch(moment)
            value: Number = getattr(cell, member)
            return value

        return read if convert is None else lambda moment: convert(read(moment))


@dataclass(frozen=True)
class Field:
    """A field value; `since` is the first driver branch to trust with this id."""

    number: int
    convert: Convert | None = None
    scope: int = 0
    since: int = 0

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        if gpu.driver < self.since:
            raise Reading(Reason.UNSUPPORTED)
        return gpu.fields.add(self.number, self.scope, self.convert)


@dataclass(frozen=True)
class GpmMetric:
    """A GPM metric by its NVML number."""

    number: int
    convert: Convert | None = None

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        read, convert = gpu.gpm.metric(self.number), self.convert
        return read if convert is None else lambda moment: convert(read(moment))


@dataclass(frozen=True)
class Rate:
    """Units a second of a counter, as the mean since the moment before."""

    counter: Source
    convert: Convert

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        read, convert, counter = self.counter.bind(gpu), self.convert, Counter()

        def mean(moment: Moment) -> Number:
            step = counter.advance(whole(read(moment)), moment.now)
            if step is None or step[1] <= 0:
                raise Reading(Reason.NOT_OBSERVED)
            return convert(step[0] / step[1])

        return mean


@dataclass(frozen=True)
class BufferMean:
    """The mean of what the driver sampled into its ring buffer since the moment before."""

    kind: int

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        return RingBuffer(gpu.handle, self.kind).mean


@dataclass(frozen=True)
class Headroom:
    """How far a temperature is below the GPU's slowdown threshold."""

    temperature: Source

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        threshold = gpu.identity.slowdown_temperature
        if threshold is None:
            raise Reading(Reason.UNSUPPORTED)
        read = self.temperature.bind(gpu)
        return lambda moment: threshold - read(moment)


# Filled by whoever asks for processes; only the count is of interest, so all share one.
_PROCESSES = (Process * 128)()


@dataclass(frozen=True)
class ProcessCount:
    """Processes in the list that a function gives, of all partitions where there are some."""

    name: str

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        parts = gpu.parts if gpu.lacking is None else None
        counts = [each.process_count(self.name) for each in parts or (gpu,)]
        return counts[0] if len(counts) == 1 else lambda moment: sum(count(moment) for count in counts)


class _Count:
    """The number of processes that a function lists, asked for once a moment."""

    __slots__ = ("_code", "_count", "_moment", "_run")

    def __init__(self, name: str, handle: Handle) -> None:
        self._run, self._count = partial(function(name), handle), c_uint()
        self._moment: Moment | None = None
        self._code = 0

    def __call__(self, moment: Moment) -> int:
        if self._moment is not moment:
            self._moment, self._count.value = moment, len(_PROCESSES)
            self._code = self._run(byref(self._count), _PROCESSES)
        if self._code and self._code != INSUFFICIENT_SIZE:
            raise failure(self._code)
        return self._count.value


@dataclass(frozen=True)
class OverInstances:
    """Of a GPU that MIG cuts, the sum of what a source gives of each GPU instance."""

    of: Source

    def bind(self, gpu: Binder) -> Reader:
        """See Source. Of a GPU without instances nothing is known that way."""
        readers = [self.of.bind(part) for part in gpu.all_parts() if part.leads]
        if not readers:
            raise Reading(Reason.UNSUPPORTED)
        return lambda moment: sum(read(moment) for read in readers)


@dataclass(frozen=True)
class OverParts:
    """Of a GPU that MIG cuts, a mean over its multiprocessors, from those of its partitions by their shares."""

    of: Source
    convert: Convert

    def bind(self, gpu: Binder) -> Reader:
        """See Source. What no partition holds does nothing; without one the GPU does nothing."""
        readers = [(_share(part), self.of.bind(part)) for part in gpu.all_parts()]
        return lambda moment: self.convert(sum(share * read(moment) for share, read in readers))


def _share(part: Part) -> float:
    if part.share is None:
        raise Reading(Reason.UNSUPPORTED)
    return part.share


@dataclass(frozen=True)
class Links:
    """The sum over all NVLinks of a source that takes the link's number."""

    of: Callable[[int], Source] = field(hash=False)

    def parts(self, gpu: Binder) -> tuple[Reader, ...]:
        """One reader for each link. Reading where the GPU has no NVLink."""
        count = gpu.identity.nvlink_count
        if not count:
            raise Reading(Reason.UNSUPPORTED)
        return tuple(self.of(link).bind(gpu) for link in range(count))

    def bind(self, gpu: Binder) -> Reader:
        """See Source. A link that gives no value, such as one that is down, is left out of the sum."""
        readers = self.parts(gpu)

        def total(moment: Moment) -> Number:
            values, problem = [], Reading(Reason.UNSUPPORTED)
            for read in readers:
                try:
                    values.append(read(moment))
                except Reading as failed:
                    problem = failed
            if not values:
                raise problem
            return sum(values)

        return total


@dataclass(frozen=True)
class Ask:
    """What a getter of pynvml answers: for what is read rarely."""

    getter: str
    arguments: tuple[int, ...] = ()
    convert: Callable[[Any], Number] = int

    def bind(self, gpu: Binder) -> Reader:
        """See Source."""
        handle = gpu.handle
        return lambda moment: self.convert(ask(self.getter, handle, *self.arguments))
