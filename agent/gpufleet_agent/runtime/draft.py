"""A report that is still open: the sum of the records that went into its journal."""

from __future__ import annotations

from gpufleet_agent.runtime.clock import later
from gpufleet_agent.runtime.frames import Begun, Changed, Enlisted, Happened, Record, Stood, Ticked
from gpufleet_agent.runtime.pieces import Pieces
from gpufleet_agent.wire import PROTOCOL, Backlog, Clock, Event, Report, Roster, Samples, State, pack

# Well inside the wire's bounds, so that no report is ever refused for its size.
_MAX_BYTES = 3 << 20
_MAX_BLOCKS = 60
_MAX_TICKS = 3600
_MAX_EVENTS = 5000
_MAX_PIECES, _MAX_HOLDERS = 8192, 2048


class _Block:
    """Ticks with the same GPUs and the same columns."""

    def __init__(self, first: Ticked) -> None:
        self.gpus = first.gpus
        self.ticks = [first]

    def takes(self, tick: Ticked) -> bool:
        """Whether the tick has this block's shape."""
        return tick.gpus == self.gpus and tick.columns.keys() == self.ticks[0].columns.keys()

    def samples(self) -> Samples:
        """The ticks as columns."""
        return Samples(
            gpus=self.gpus,
            times=pack((tick.at for tick in self.ticks), 8),
            durations=pack((tick.duration for tick in self.ticks), 4),
            columns={name: b"".join(tick.columns[name] for tick in self.ticks) for name in self.ticks[0].columns},
        )


class Draft:
    """Collects records and gives the report."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._driver = begun.driver
        self._digest = begun.roster_digest
        self._roster: Roster | None = None
        self._blocks: list[_Block] = []
        self._partition_blocks: list[_Block] = []
        self._states: list[State] = []
        self._events: list[Event] = []
        self._ticks = 0
        self._bytes = 0
        self.pieces = Pieces()
        self.last = begun.clock.wall
        # The newest sample's time; 0 where there is none.
        self.sampled = 0

    @property
    def seq(self) -> int:
        """The sequence number of the report to be."""
        return self._begun.seq

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it but how the driver stands."""
        return not (self._blocks or self._states or self._events or self._roster)

    @property
    def full(self) -> bool:
        """Whether it must be closed before it outgrows the wire's bounds."""
        return (
            self._bytes > _MAX_BYTES
            or max(len(self._blocks), len(self._partition_blocks)) >= _MAX_BLOCKS
            or self._ticks >= _MAX_TICKS
            or len(self._events) >= _MAX_EVENTS
            or len(self.pieces) >= _MAX_PIECES
            or len(self.pieces.holders) >= _MAX_HOLDERS
        )

    def add(self, record: Record) -> None:
        """Take a record in."""
        if isinstance(record, Ticked):
            self._add_tick(record)
        elif isinstance(record, Changed):
            self._states += record.states
        elif isinstance(record, Happened):
            self._events += record.events
        elif isinstance(record, Enlisted):
            self._roster, self._digest = record.roster, record.digest
        elif isinstance(record, Stood):
            self._driver = record.driver

    def report(self, node: str, backlog: Backlog, created: Clock | None = None) -> Report:
        """The report. Without `created` it is closed at the last thing known in it (a journal found later)."""
        begun = self._begun
        return Report(
            version=PROTOCOL,
            node=node,
            stream=begun.stream,
            seq=begun.seq,
            created=created or later(begun.clock, self.last),
            interval=begun.interval,
            driver=self._driver,
            backlog=backlog,
            roster_digest=self._digest,
            roster=self._roster,
            samples=[block.samples() for block in self._blocks],
            partition_samples=[block.samples() for block in self._partition_blocks],
            states=self._states,
            events=self._events,
            holders=self.pieces.holders,
            usage=self.pieces.usage(),
        )

    def _add_tick(self, tick: Ticked) -> None:
        if not tick.gpus:
            return
        self._append(self._blocks, tick)
        if tick.partitions:
            self._append(self._partition_blocks, tick.of_partitions)
        self.pieces.add(tick)
        self.sampled = tick.at
        self.last = max(self.last, tick.at)
        self._ticks += 1

    def _append(self, blocks: list[_Block], tick: Ticked) -> None:
        if blocks and blocks[-1].takes(tick):
            blocks[-1].ticks.append(tick)
        else:
            blocks.append(_Block(tick))
        self._bytes += sum(map(len, tick.columns.values()))
