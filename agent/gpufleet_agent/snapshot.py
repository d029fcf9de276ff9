"""What the agent's port shows, whatever it is called there: newest sample, states, totals, XIDs, the agent itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gpufleet_agent import __version__
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Kind
from gpufleet_agent.runtime.clock import wall
from gpufleet_agent.runtime.frames import Frame, Happened, Opened, Ticked
from gpufleet_agent.wire import Backlog, Driver, Event, Roster, State, unpack

# A driver that goes wrong may tell any number as an XID; a page of thousands of series helps nobody.
_MOST_XIDS = 256


@dataclass(frozen=True)
class Fact:
    """One figure of the agent itself. The name of a counter is without `_total`."""

    name: str
    help: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)
    is_counter: bool = False


@dataclass
class Snapshot:
    """What is shown: filled by the agent as it goes.

    `totals` maps (GPU, metric of kind increment) to its stored integers added up since the agent's start; `last_xids`
    a GPU that tells its XIDs to the last one, 0 where there was none; `xid_totals` (GPU, XID) to how often it came.
    """

    roster: Roster | None = None
    driver: Driver | None = None
    backlog: Backlog = field(default_factory=Backlog)
    states: list[State] = field(default_factory=list)
    tick: Ticked | None = None
    totals: dict[tuple[str, str], int] = field(default_factory=dict)
    last_xids: dict[str, int] = field(default_factory=dict)
    xid_totals: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, frame: Frame) -> None:
        """Note what the reader told; increments and XIDs add up from the agent's start."""
        if isinstance(frame, Ticked):
            self.tick = frame
            self._add_up(frame)
        elif isinstance(frame, Opened):
            for gpu in frame.xid_gpus:
                self.last_xids.setdefault(gpu, 0)
        elif isinstance(frame, Happened):
            for event in frame.events:
                self._note_xid(event)

    def _add_up(self, tick: Ticked) -> None:
        for metric in EVERY_SAMPLE:
            if metric.kind is Kind.INCREMENT and metric.name in tick.columns:
                for gpu, stored in zip(tick.gpus, unpack(tick.columns[metric.name], metric.width), strict=True):
                    if metric.value(stored) is not None:
                        self.totals[gpu, metric.name] = self.totals.get((gpu, metric.name), 0) + stored

    def _note_xid(self, event: Event) -> None:
        if event.kind != "xid" or event.gpu is None or event.code is None:
            return
        self.last_xids[event.gpu] = event.code
        key = (event.gpu, event.code)
        if key in self.xid_totals or len(self.xid_totals) < _MOST_XIDS:
            self.xid_totals[key] = self.xid_totals.get(key, 0) + 1

    def readings(self) -> dict[tuple[str, str], int]:
        """(GPU, metric) → stored integer of what holds now; absent values are left out.

        While the driver does not answer the newest sample is old, and only states are there.
        """
        stored = {(state.gpu, state.metric): state.stored for state in self.states if state.metric in BY_NAME}
        if self.tick is not None and self.answers:
            stored |= _cells(self.tick)
        return _present(stored)

    def partition_readings(self) -> dict[tuple[str, str], int]:
        """(Partition, metric) → stored integer of what holds now, likewise."""
        return _present(_cells(self.tick.of_partitions)) if self.tick is not None and self.answers else {}

    @property
    def answers(self) -> bool:
        """Whether the driver answers."""
        return self.driver is not None and self.driver.state == "ok"

    def own(self) -> Iterator[Fact]:
        """What the agent says of itself."""
        host = self.roster.host if self.roster else None
        versions = {"version": __version__, "driver_version": (host and host.driver_version) or ""}
        yield Fact("gpufleet_agent_build_info", "Versions of the agent and of the driver it reads.", 1.0, versions)
        paused = self.driver is not None and self.driver.state == "paused"
        told = "1 while the agent leaves the driver alone, as it was told to."
        yield Fact("gpufleet_agent_paused", told, float(paused))
        if not paused:
            # One that nobody asks is not one that does not answer.
            yield Fact("gpufleet_agent_driver_up", "1 if the driver answers.", float(self.answers))
        if self.tick is not None:
            age = max(0.0, (wall() - self.tick.at) / 1e6)
            yield Fact("gpufleet_agent_sample_age_seconds", "Age of the last sample.", age)
        waiting, size = float(self.backlog.reports), float(self.backlog.bytes)
        yield Fact("gpufleet_agent_spool_reports", "Reports that wait for the server.", waiting)
        yield Fact("gpufleet_agent_spool_bytes", "Size of the reports that wait for the server.", size)
        dropped = "Reports given up: spool full or too old."
        yield Fact("gpufleet_agent_dropped_reports", dropped, float(self.backlog.dropped), is_counter=True)


def _cells(tick: Ticked) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for name, column in tick.columns.items():
        values = unpack(column, BY_NAME[name].width)
        found.update({(uuid, name): value for uuid, value in zip(tick.gpus, values, strict=True)})
    return found


def _present(stored: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {key: value for key, value in stored.items() if BY_NAME[key[1]].value(value) is not None}
