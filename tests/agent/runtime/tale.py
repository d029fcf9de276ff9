"""An agent's spool and its server over some reports, and what was promised when, by the operations of the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gpufleet_agent.catalogue import EVERY_SAMPLE
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.frames import Ticked
from gpufleet_agent.runtime.spool import Spool
from gpufleet_agent.wire import decode, pack, unpack

from tests.agent.runtime.test_spool import NODE, begin, close

GPUS = [f"GPU-{number}" for number in range(32)]
METRICS = [metric.name for metric in EVERY_SAMPLE if metric.width == 4][:3]

Step = Literal["tick", "seal", "push", "push unheard", "restart"]


def sample(at: int) -> Ticked:
    """A sample whose every value is its time, so that a torn one shows."""
    columns = {name: pack([at] * len(GPUS), 4) for name in METRICS}
    return Ticked(at=at, duration=1000, gpus=GPUS, columns=columns)


@dataclass
class End:
    """A server, which takes each number of a stream once and in order; `taken` are the times of all samples."""

    last: dict[str, int] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        """Take a report, whose values must be what they were."""
        report = decode(body)
        if report.seq <= self.last.get(report.stream, 0):
            return
        self.last[report.stream] = report.seq
        for samples in report.samples:
            times = unpack(samples.times, 8)
            assert {name: unpack(column, 4) for name, column in samples.columns.items()} == {
                name: [at for at in times for _ in GPUS] for name in METRICS
            }
            self.taken += times


class Tale:
    """Tells steps. `now` is how many operations the disk has done; what is noted bears that number."""

    def __init__(self, state: Path, now: Callable[[], int] = lambda: 0) -> None:
        self._state, self._now = state, now
        self.at = 0
        self.open: Draft | None = None
        self._times: dict[int, list[int]] = {}
        # When which samples were appended; when which were on disk in a closed report; when which bodies arrived.
        self.read: list[tuple[int, int]] = []
        self.kept: list[tuple[int, int]] = []
        self.arrived: list[tuple[int, bytes]] = []
        self.end = End()
        self.spool = fresh(state)

    def go(self, steps: Iterable[Step]) -> None:
        """Do these steps."""
        for step in steps:
            if step == "tick":
                self._tick()
            elif step == "seal" and self.open is not None:
                self._seal(self.open)
            elif step == "restart":
                self.open, self.spool = None, fresh(self._state)
            elif step.startswith("push"):
                self._push(heard=step == "push")

    def finish(self) -> list[int]:
        """Close what is open and have the server take all that waits; the times that it has then."""
        if self.open is not None:
            self._seal(self.open)
        while self.spool.head() is not None:
            self._push(heard=True)
        return self.end.taken

    def _tick(self) -> None:
        self.at += 1
        self.open = self.open or begin(self.spool)
        self._times.setdefault(self.open.seq, []).append(self.at)
        self.open.add(sample(self.at))
        self.spool.append(sample(self.at))
        self.read.append((self._now(), self.at))

    def _seal(self, draft: Draft) -> None:
        close(self.spool, draft)
        self.open = None
        # On the way others may have got from memory to disk.
        known = {at for _, at in self.kept}
        for entry in self.spool.heads(10_000):
            if entry.body is None:
                self.kept += [(self._now(), at) for at in self._times.get(entry.seq, []) if at not in known]

    def _push(self, heard: bool) -> None:
        entry = self.spool.head()
        if entry is None:
            return
        body = entry.read()
        self.end.take(body)
        self.arrived.append((self._now(), body))
        if heard:
            self.spool.remove(entry)


def fresh(state: Path) -> Spool:
    """What a new agent process finds."""
    return Spool(state, NODE, 1 << 30, 1e9)


def told_after(state: Path, arrived: Iterable[bytes], later: int) -> list[int]:
    """The times that the server has once a new agent took over this folder, sampled at `later`, and sent all it has."""
    end = End()
    for body in arrived:
        end.take(body)
    tale = Tale(state)
    tale.end, tale.at = end, later - 1
    tale.go(["tick", "seal"])
    return tale.finish()
