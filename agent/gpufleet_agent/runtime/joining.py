"""Reports that follow each other, as one: the server stores of it what it would have stored of them one by one."""

from __future__ import annotations

from msgspec.structs import replace

from gpufleet_agent.runtime.clock import boot_id, wall
from gpufleet_agent.runtime.pieces import Strung
from gpufleet_agent.wire import MAX_JOINED_BYTES, MAX_JOINED_CELLS, Clock, Event, Report, Samples, State
from gpufleet_agent.wire.report import MAX_TIMES

MAX_BLOCKS = 60
MAX_STATES, MAX_EVENTS = 10_000, 1_000
MAX_PIECES, MAX_HOLDERS = 8_192, 2_048
_SAME_CLOCK = 100_000


def same_clock(one: Clock, other: Clock) -> bool:
    """Whether the wall clock was not set between these moments: within 0.1 s, and within one boot."""
    return one.boot == other.boot and abs((one.wall - one.uptime) - (other.wall - other.uptime)) <= _SAME_CLOCK


class _Block:
    """Samples with the same GPUs and the same columns."""

    def __init__(self, first: Samples) -> None:
        self.gpus = first.gpus
        self.times, self.durations = bytearray(first.times), bytearray(first.durations)
        self.columns = {name: bytearray(column) for name, column in first.columns.items()}

    def takes(self, samples: Samples) -> bool:
        """Whether the samples have this block's shape, and it has room."""
        room = len(self.times) + len(samples.times) <= 8 * MAX_TIMES
        return room and samples.gpus == self.gpus and samples.columns.keys() == self.columns.keys()

    def add(self, samples: Samples) -> None:
        """Append the samples. All GPUs of the first time come first, so columns only have to be strung together."""
        self.times += samples.times
        self.durations += samples.durations
        for name, column in samples.columns.items():
            self.columns[name] += column

    def samples(self) -> Samples:
        """The block as it goes on the wire."""
        columns = {name: bytes(column) for name, column in self.columns.items()}
        return Samples(gpus=self.gpus, times=bytes(self.times), durations=bytes(self.durations), columns=columns)


class _Blocks:
    """Samples of one kind, GPUs or partitions, in as few blocks as their shapes allow."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, given: list[Samples]) -> None:
        """Append them."""
        for samples in given:
            if self._blocks and self._blocks[-1].takes(samples):
                self._blocks[-1].add(samples)
            else:
                self._blocks.append(_Block(samples))

    def samples(self) -> list[Samples]:
        """The blocks as they go on the wire."""
        return [block.samples() for block in self._blocks]


class Joined:
    """One or more reports of a stream, oldest first. Of each no more is kept than what the joined one holds of it."""

    def __init__(self, first: Report) -> None:
        self._first = self._last = first
        self._blocks, self._partition_blocks = _Blocks(), _Blocks()
        self._states: list[State] = []
        self._events: list[Event] = []
        self._usage = Strung()
        self._bytes = self._cells = self._newest = self._newest_state = 0
        self._open = _can_be_joined(first)
        self._append(first)

    def add(self, report: Report) -> bool:
        """Take in the next report; False, and nothing is done, where it has to go in another request."""
        if not (self._open and _can_be_joined(report) and self._continued_by(report) and self._has_room(report)):
            return False
        self._append(report)
        return True

    def report(self) -> Report:
        """The joined report. What there can be only one of is the last one's, which is what a server keeps."""
        return replace(
            self._last,
            first_seq=self._first.seq,
            samples=self._blocks.samples(),
            partition_samples=self._partition_blocks.samples(),
            states=self._states,
            events=self._events,
            holders=self._usage.holders,
            usage=self._usage.usage,
        )

    def _continued_by(self, report: Report) -> bool:
        last = self._last
        of_same = (report.node, report.stream, report.seq) == (last.node, last.stream, last.seq + 1)
        alike = (report.version, report.interval, report.driver, report.roster_digest) == (
            *(last.version, last.interval, last.driver, last.roster_digest),
        )
        return of_same and alike and same_clock(report.created, self._first.created) and self._rises(report)

    def _rises(self, report: Report) -> bool:
        """Whether what it tells comes after all before it; times of one report have to rise."""
        oldest = min((_time(samples, 0) for samples in _samples(report)), default=self._newest + 1)
        oldest_state = min((state.at for state in report.states), default=self._newest_state)
        return oldest > self._newest and oldest_state >= self._newest_state

    def _has_room(self, report: Report) -> bool:
        return (
            self._bytes + _bytes(report) <= MAX_JOINED_BYTES
            and self._cells + _cells(report) <= MAX_JOINED_CELLS
            and len(self._blocks) + len(report.samples) <= MAX_BLOCKS
            and len(self._partition_blocks) + len(report.partition_samples) <= MAX_BLOCKS
            and len(self._states) + len(report.states) <= MAX_STATES
            and len(self._events) + len(report.events) <= MAX_EVENTS
            and len(self._usage) + len(report.usage) <= MAX_PIECES
            and len(self._usage.holders) + len(report.holders) <= MAX_HOLDERS
        )

    def _append(self, report: Report) -> None:
        self._bytes += _bytes(report)
        self._cells += _cells(report)
        self._blocks.add(report.samples)
        self._partition_blocks.add(report.partition_samples)
        self._newest = max((self._newest, *(_time(samples, -8) for samples in _samples(report))))
        self._states += report.states
        self._newest_state = max((state.at for state in report.states), default=self._newest_state)
        self._events += report.events
        self._usage.add(report.holders, report.usage)
        self._last = replace(report, samples=[], partition_samples=[], states=[], events=[], holders=[], usage=[])


def _can_be_joined(report: Report) -> bool:
    """Whether the server corrects its times as those of its neighbours, and compares no roster on its account."""
    # Of another boot only the wall clocks are left, and a report is never taken to be made after it came.
    placed = report.created.boot == boot_id() or report.created.wall <= wall()
    return placed and report.roster is None


def _samples(report: Report) -> list[Samples]:
    """Those of GPUs and those of partitions."""
    return report.samples + report.partition_samples


def _time(samples: Samples, at: int) -> int:
    return int.from_bytes(samples.times[at : at + 8 or None], "little", signed=True)


def _bytes(report: Report) -> int:
    return sum(sum(map(len, samples.columns.values())) for samples in _samples(report))


def _cells(report: Report) -> int:
    return sum(len(samples.times) // 8 * len(samples.gpus) for samples in _samples(report))
