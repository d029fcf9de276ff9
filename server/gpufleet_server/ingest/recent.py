"""Rows of `recent`: blocks as they came, cut where a row would be too large or hold samples of two hours."""

import bisect
from collections.abc import Iterator
from typing import Any

from gpufleet_agent import wire
from gpufleet_agent.catalogue import EVERY_SAMPLE

from gpufleet_server.ingest.cells import Placed
from gpufleet_server.ingest.columns import NAMES
from gpufleet_server.store.tiers import HOUR, begin_of

COLUMNS = ("node_id", "first", "last", "slots", "times", "durations", *NAMES)
# Bytes of values in a row: two rows fit into a page of PostgreSQL.
_MOST = 3600
_WIDTHS = tuple(metric.width for metric in EVERY_SAMPLE)


def rows(placed: Placed) -> Iterator[tuple[Any, ...]]:
    """The rows of a block."""
    samples, offset, gpus = placed.block.samples, placed.offset, len(placed.layout.gpus)
    times = [time + offset for time in placed.block.times] if offset else placed.block.times
    columns = placed.block.columns
    there = sum(width for column, width in zip(columns, _WIDTHS, strict=True) if column is not None)
    most = max(1, _MOST // (max(1, there) * gpus))
    head = (placed.node.node_id, times[0], times[-1], placed.layout.slots)
    if len(times) <= most and begin_of(times[0], HOUR) == begin_of(times[-1], HOUR):
        yield (*head, wire.pack(times, 8) if offset else samples.times, samples.durations, *columns)
        return
    begin = 0
    while begin < len(times):
        hour_end = begin_of(times[begin], HOUR) + HOUR
        end = min(begin + most, bisect.bisect_right(times, hour_end))
        part = (
            column[begin * gpus * width : end * gpus * width] if column is not None else None
            for column, width in zip(columns, _WIDTHS, strict=True)
        )
        head = (placed.node.node_id, times[begin], times[end - 1], placed.layout.slots)
        yield (*head, wire.pack(times[begin:end], 8), samples.durations[4 * begin : 4 * end], *part)
        begin = end
