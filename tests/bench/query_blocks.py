"""What the tiers hold of template nodes, from the simulator's physics: rows that many nodes of a fleet may share."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, RESERVED, Rollup
from gpufleet_server.domain import use
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.store.blocks import Block, cut, to_planes
from gpufleet_server.store.rollups import point
from gpufleet_server.store.tiers import DAILY, DAY, HOUR, HOURLY, SEALED, Tier, begin_of, latest, recent
from numpy.typing import NDArray
from sqlalchemy import Table

Ints = NDArray[np.int64]
# Rollups of long ago are of samples this far apart, µs.
_COARSE = 15 * 60 * 1_000_000
METRICS = tuple(metric.name for metric in EVERY_SAMPLE)


# A node's rows of a table, without their `node_id`, by the time that they are cut by (µs).
Rows = dict[int, list[list[Any]]]


def names(table: Table) -> list[str]:
    """The columns of a row without `node_id`, in the order in which rows have them."""
    return [column.name for column in table.c if column.name != "node_id"]


def sampled(boards: Boards, times: Ints, interval: int) -> Block:
    """The samples of all GPUs of a batch side by side, as if it were one node; `interval` in ms."""
    # What is counted over more than a minute does not fit into what an agent sends.
    counted = min(interval, 60_000)
    columns = physics.columns(boards, times, np.full(len(times), counted, np.int64))
    durations = np.full((len(times), len(boards)), interval, np.int64)
    longer = {name: _over(name, stored.astype(np.int64), interval // counted) for name, stored in columns.items()}
    return Block(np.arange(len(boards)), times, durations, longer)


def _over(name: str, stored: Ints, factor: int) -> Ints:
    metric = BY_NAME[name]
    if metric.rollup is not Rollup.SUM or factor == 1:
        return stored
    return np.where(stored >= metric.lowest + RESERVED, stored * factor, stored)


def times(begin: int, end: int, step: int) -> Ints:
    """Multiples of `step` in (begin, end], µs."""
    return np.arange(begin // step + 1, end // step + 1, dtype=np.int64) * step


def sealed_rows(nodes: Sequence[SimNode], begin: int, end: int, interval: int) -> list[Rows]:
    """Rows of `sealed` for whole hours; `interval` in ms."""
    boards = Boards.of(nodes)
    block = sampled(boards, times(begin, end, interval * 1000), interval)
    rows: list[Rows] = [{} for _ in nodes]
    for hour in range(begin, end, HOUR):
        part = cut(block, hour, hour + HOUR)
        for number, found in enumerate(rows):
            found[hour] = [_planes(SEALED, hour, _of_node(part, boards, number))]
    return rows


def recent_rows(nodes: Sequence[SimNode], begin: int, end: int, interval: int) -> list[Rows]:
    """Rows of `recent`, a report with one sample each."""
    boards = Boards.of(nodes)
    block = sampled(boards, times(begin, end, interval * 1000), interval)
    rows: list[Rows] = [{} for _ in nodes]
    for number, found in enumerate(rows):
        part = _of_node(block, boards, number)
        for place, at in enumerate(part.times.tolist()):
            found.setdefault(begin_of(at, HOUR), []).append(_report(part, place, at, interval))
    return rows


def rollup_rows(nodes: Sequence[SimNode], begin: int, end: int) -> tuple[list[Rows], list[Rows]]:
    """Rows of `hourly` and of `daily`: points of the hours, and of the days that are over, of (begin, end]."""
    boards = Boards.of(nodes)
    hourly: list[Rows] = [{} for _ in nodes]
    daily: list[Rows] = [{} for _ in nodes]
    months: dict[int, list[Block]] = {}
    for day in range(begin, end, DAY):
        hours = _hours(boards, day, min(day + DAY, end))
        for number, found in enumerate(hourly):
            found[day] = [_planes(HOURLY, day, _of_node(hours, boards, number))]
        if day + DAY <= end:
            months.setdefault(begin_of(day + DAY, DAILY.span), []).append(point(hours, day + DAY))
    for span, points in months.items():
        for number, found in enumerate(daily):
            found[span] = [_planes(DAILY, span, _of_node(_strung(points), boards, number))]
    return hourly, daily


def latest_rows(nodes: Sequence[SimNode], at: int, shown: int, interval: int) -> Iterator[list[Any]]:
    """A row of `latest` a node: the sample of `at`, dated `shown` (both µs)."""
    boards = Boards.of(nodes)
    block = sampled(boards, np.array([at]), interval)
    for number, node in enumerate(nodes):
        part = _of_node(block, boards, number)
        packed: dict[str, Any] = {
            "ts": np.full(node.count, shown, "<i8").tobytes(),
            "durations": np.full(node.count, interval, "<i4").tobytes(),
        }
        packed |= {name: _raw(name, values[0]) for name, values in part.columns.items()}
        packed["use"] = use.use({name: part.columns[name][0] for name in use.metrics()}).tobytes()
        yield [packed.get(name) for name in names(latest)]


def _hours(boards: Boards, begin: int, end: int) -> Block:
    block = sampled(boards, times(begin, end, _COARSE), _COARSE // 1000)
    return _strung([point(cut(block, hour, hour + HOUR), hour + HOUR) for hour in range(begin, end, HOUR)])


def _strung(points: Sequence[Block]) -> Block:
    first = points[0]
    columns = {name: np.concatenate([each.columns[name] for each in points]) for name in first.columns}
    at, durations = (np.concatenate([getattr(each, name) for each in points]) for name in ("times", "durations"))
    return Block(first.slots, at, durations, columns)


def _of_node(block: Block, boards: Boards, number: int) -> Block:
    """The columns of one of the nodes, which number their GPUs from 0 on."""
    mine = boards.columns(number)
    columns = {name: values[:, mine] for name, values in block.columns.items()}
    durations = block.durations[:, mine]
    return Block(np.arange(durations.shape[1]), block.times, durations, columns)


def _planes(tier: Tier, span: int, block: Block) -> list[Any]:
    row = {"span": span} | to_planes(block, tier)
    return [row[name] for name in names(tier.table)]


def _report(block: Block, place: int, at: int, interval: int) -> list[Any]:
    packed: dict[str, Any] = {
        "first": at,
        "last": at,
        "slots": block.slots.astype("<i2").tobytes(),
        "times": np.int64(at).tobytes(),
        "durations": np.int32(interval).tobytes(),
    }
    packed |= {name: _raw(name, values[place]) for name, values in block.columns.items()}
    return [packed.get(name) for name in names(recent)]


def _raw(name: str, values: Ints) -> bytes:
    return values.astype(f"<i{BY_NAME[name].width}").tobytes()
