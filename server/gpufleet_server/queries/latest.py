"""The newest value of metrics, or why there is none."""

import dataclasses
import functools
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gpufleet_agent.catalogue import EVERY_SAMPLE, METRICS, ON_CHANGE, RESERVED, Metric, Reason
from sqlalchemy import Connection, String, and_, column, func, select, true, values

from gpufleet_server.store import tiers
from gpufleet_server.store.schema import gpus, states

_INTEGERS = {width: struct.Struct(f"<{letter}") for width, letter in ((2, "h"), (4, "i"), (8, "q"))}
_REASONS = frozenset(Reason)
NOT_OBSERVED = Reason.NOT_OBSERVED.word
_CELLS = [(m, m.width, _INTEGERS[m.width].unpack_from, m.lowest + RESERVED) for m in EVERY_SAMPLE]
_COLUMNS = [tiers.latest.c[name] for name in ("ts", "durations", *(metric.name for metric in EVERY_SAMPLE))]


class Reading(NamedTuple):
    """One value of a metric as its stored integer, or None with the reason. `at` is µs; None if never observed.

    For a metric that is sent on change `at` is when the value came into force. `duration` is the length, ms, of the
    interval that a value of a sample is of.
    """

    metric: Metric
    stored: int | None
    reason: str | None
    at: int | None
    duration: int | None = None

    @property
    def value(self) -> float | int | None:
        """The value in the metric's unit."""
        return None if self.stored is None else self.metric.value(self.stored)

    @property
    def rate(self) -> float | None:
        """For an increment, the value a second."""
        value = self.value
        return None if value is None or not self.duration else value * 1000 / self.duration


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """A row of `states`."""

    ts: int
    value: int | None
    reason: int | None


States = dict[tuple[int, str], State]
_NEVER = {metric.name: Reading(metric, None, NOT_OBSERVED, None) for metric in EVERY_SAMPLE}


@functools.lru_cache(64)
def word(reason: int | None) -> str:
    """The word of a stored reason; a number that this version does not know is shown as it is."""
    if reason is None:
        return NOT_OBSERVED
    return Reason(reason).word if reason in _REASONS else f"reason {reason}"


def newest_states(
    connection: Connection, gpu_ids: Sequence[int], metrics: Sequence[str], at: int | None = None
) -> States:
    """The newest row of `states` for each GPU and metric that has one, not later than `at`."""
    if not gpu_ids or not metrics:
        return {}
    # One look into the index per GPU and metric: a GPU's history may be long, and is never walked through.
    wanted = values(column("metric", String), name="wanted").data([(name,) for name in metrics]).cte("wanted")
    pairs = gpus.join(wanted, gpus.c.gpu_id.in_(gpu_ids))
    own = and_(states.c.gpu_id == gpus.c.gpu_id, states.c.metric == wanted.c.metric)
    if at is not None:
        own = and_(own, states.c.ts <= at)
    if connection.dialect.name == "postgresql":
        # Else its planner may read all the states there are.
        last = select(states).where(own).order_by(states.c.ts.desc()).limit(1).correlate(gpus, wanted).lateral("last")
        query = select(last).select_from(pairs.join(last, true()))
    else:
        ts = select(func.max(states.c.ts)).where(own).correlate(gpus, wanted).scalar_subquery().label("ts")
        newest = select(gpus.c.gpu_id, wanted.c.metric, ts).select_from(pairs).subquery()
        same = and_(*(states.c[name] == newest.c[name] for name in ("gpu_id", "metric", "ts")))
        query = select(states).select_from(newest.join(states, same))
    rows = connection.execute(query)
    return {(row.gpu_id, row.metric): State(row.ts, row.value, row.reason) for row in rows}


def of_samples(connection: Connection, gpu_ids: Sequence[int]) -> dict[int, dict[str, Reading]]:
    """For each GPU the newest values of the metrics that every sample holds."""
    # Every metric of a few GPUs: taken apart here, which is quicker than a function call a value in the database.
    here = gpus.c.node_id == tiers.latest.c.node_id
    query = select(gpus.c.gpu_id, gpus.c.slot, *_COLUMNS).join_from(gpus, tiers.latest, here)
    rows = connection.execute(query.where(gpus.c.gpu_id.in_(gpu_ids)))
    return dict.fromkeys(gpu_ids, _NEVER) | {gpu_id: _readings(slot, *packed) for gpu_id, slot, *packed in rows}


def of_all(connection: Connection, gpu_id: int) -> dict[str, Reading]:
    """The newest values of every metric of the catalogue for one GPU."""
    sampled = of_samples(connection, [gpu_id])[gpu_id]
    found = newest_states(connection, [gpu_id], [metric.name for metric in ON_CHANGE])
    changed = {metric.name: in_force(metric, found.get((gpu_id, metric.name))) for metric in ON_CHANGE}
    return {metric.name: (sampled | changed)[metric.name] for metric in METRICS}


def sampled_at(readings: Mapping[str, Reading]) -> int | None:
    """When a GPU's newest sample ended, µs."""
    return readings[EVERY_SAMPLE[0].name].at


def lost_since(connection: Connection, gpu_ids: Sequence[int]) -> dict[int, int]:
    """GPU → since when (µs) its samples say that it is lost; those whose newest ones don't are left out."""
    found = newest_states(connection, gpu_ids, [EVERY_SAMPLE[0].name])
    return {gpu_id: state.ts for (gpu_id, _), state in found.items() if state.reason == Reason.LOST}


def in_force(metric: Metric, state: State | None) -> Reading:
    """What a row of `states` says of a metric that is sent on change."""
    if state is None:
        return Reading(metric, None, NOT_OBSERVED, None)
    return Reading(metric, state.value, None if state.value is not None else word(state.reason), state.ts)


def _readings(slot: int, times: bytes, durations: bytes, *packed: bytes | None) -> dict[str, Reading]:
    """The newest sample in the slot of one GPU."""
    ts = _unpacked(times, slot, 8)
    if not ts:
        return _NEVER
    duration, found = _unpacked(durations, slot, 4), {}
    for (metric, width, unpack, values_from), cells in zip(_CELLS, packed, strict=True):
        if cells is None or width * (slot + 1) > len(cells):
            reading = Reading(metric, None, NOT_OBSERVED, ts, duration)
        elif (stored := unpack(cells, width * slot)[0]) < values_from:
            reading = Reading(metric, None, word(stored - values_from + RESERVED), ts, duration)
        else:
            reading = Reading(metric, stored, None, ts, duration)
        found[metric.name] = reading
    return found


def _unpacked(packed: bytes | None, slot: int, width: int) -> int | None:
    if packed is None or width * (slot + 1) > len(packed):
        return None
    found: int = _INTEGERS[width].unpack_from(packed, width * slot)[0]
    return found
