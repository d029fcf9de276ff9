"""What agents made, taken from the very requests that they sent, and what the store holds of it."""

import collections
import hashlib
from collections.abc import Iterable

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Reason
from gpufleet_agent.wire import Report, WireError, decode
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import events, gpus, nodes
from gpufleet_server.store.tiers import SEALED, fleet_minutes
from sqlalchemy import func, select

from tests.server import stored

# (node, GPU, ts) → a digest of duration and values.
Samples = dict[tuple[str, str, int], bytes]
Event = tuple[str, str | None, str, int | None, int]
_MISSING = {metric.name: metric.absent(Reason.NOT_OBSERVED) for metric in EVERY_SAMPLE}


class Truth:
    """Every report that was ever on its way, by its name: sent again it is the same one.

    What is in a joined report may be in others too, with other neighbours: it counts once.
    """

    def __init__(self) -> None:
        self.reports: dict[tuple[str, str, int, int], bytes] = {}
        self.different = 0

    def saw(self, body: bytes) -> None:
        """Take down a request; what is no report is not meant."""
        try:
            report = decode(body)
        except WireError:
            return
        name = (report.node, report.stream, report.first, report.seq)
        self.different += self.reports.setdefault(name, body) != body

    def every(self) -> list[stored.Sample]:
        """Each sample that is in them, by node, GPU and time."""
        told = (sample for report in self._all() for sample in _samples(report))
        found = {(sample.node, sample.gpu, sample.ts): sample for sample in told}
        return [found[key] for key in sorted(found)]

    def samples(self) -> Samples:
        """The same as digests: there may be many."""
        told = (sample for report in self._all() for sample in _samples(report))
        return {(each.node, each.gpu, each.ts): _digest(each.duration, each.stored) for each in told}

    def events(self) -> collections.Counter[Event]:
        """Each event that is in them, and how often in one of them."""
        found: collections.Counter[Event] = collections.Counter()
        for report in self._all():
            told = ((report.node, event.gpu, event.kind, event.code, event.at) for event in report.events)
            for event, count in collections.Counter(told).items():
                found[event] = max(found[event], count)
        return found

    def observed(self) -> int:
        """GPU-ms of all samples together."""
        found: dict[tuple[str, str, int], int] = {}
        for report in self._all():
            for block in report.samples:
                durations = np.frombuffer(block.durations, "<i4").tolist()
                for at, duration in zip(np.frombuffer(block.times, "<i8").tolist(), durations, strict=True):
                    found |= {(report.node, gpu, at): duration for gpu in block.gpus}
        return sum(found.values())

    def _all(self) -> Iterable[Report]:
        return map(decode, self.reports.values())


def samples_stored(store: Store) -> collections.Counter[tuple[str, str, int, bytes]]:
    """Each sample in the store, and how often it is there."""
    return collections.Counter(
        (each.node, each.gpu, each.ts, _digest(each.duration, each.stored)) for each in stored.every(store)
    )


def events_stored(store: Store) -> collections.Counter[Event]:
    """Each event in the store that an agent told, and how often it is there."""
    query = (
        select(nodes.c.uuid, gpus.c.uuid, events.c.kind, events.c.code, events.c.ts)
        .join_from(events, nodes, events.c.node_id == nodes.c.node_id)
        .outerjoin(gpus, events.c.gpu_id == gpus.c.gpu_id)
        .where(events.c.source != "server")
    )
    with store.reading() as connection:
        return collections.Counter(tuple(row) for row in connection.execute(query))


def observed_stored(store: Store) -> int:
    """GPU-ms that the fleet's minutes add up to."""
    with store.reading() as connection:
        return int(connection.execute(select(func.sum(fleet_minutes.c.observed))).scalar_one() or 0)


def sealed_rows(store: Store) -> int:
    """How many hours of nodes are sealed."""
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(SEALED.table)).scalar_one()


def _samples(report: Report) -> Iterable[stored.Sample]:
    for block in report.samples:
        times = np.frombuffer(block.times, "<i8").tolist()
        durations = np.frombuffer(block.durations, "<i4").tolist()
        columns = {
            name: np.frombuffer(data, f"<i{BY_NAME[name].width}").reshape(len(times), len(block.gpus)).tolist()
            for name, data in block.columns.items()
            if name in _MISSING
        }
        for t, at in enumerate(times):
            for g, gpu in enumerate(block.gpus):
                values = _MISSING | {name: column[t][g] for name, column in columns.items()}
                yield stored.Sample(report.node, gpu, at, durations[t], values)


def _digest(duration: int, values: dict[str, int]) -> bytes:
    return hashlib.blake2b(repr((duration, sorted(values.items()))).encode(), digest_size=8).digest()
