"""What a condition would have seen at a past time, as far as it is stored: for trying rules on what happened.

Samples, states, events and which GPUs a node held are stored as they were. When a node was last heard is taken from its
samples and events, how its driver stood and which GPUs were lost from the events that tell of it. Nothing is known of
clocks, backlogs and servers of then; hostnames, places and facts are those of now.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Cadence, Metric, Reason
from sqlalchemy import BigInteger, Connection, FromClause, String, and_, case, cast, func, null, or_, select
from sqlalchemy.dialects import postgresql

from gpufleet_server.alerts.given import given
from gpufleet_server.alerts.identities import NUMBERS, Identities
from gpufleet_server.alerts.limits import Limits
from gpufleet_server.alerts.predicate import Values
from gpufleet_server.alerts.seen import SINCE, Ints, Seen, in_unit
from gpufleet_server.alerts.sight import Sight, Tables
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.state import silent_after
from gpufleet_server.queries.latest import States, newest_states
from gpufleet_server.store import blocks, schema
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.tiers import HOUR, SEALED, begin_of, recent

# Where a node has no sample for so long before, it is taken to have been silent for that long, µs.
_LOOK_BACK = 48 * HOUR
# No report holds samples of a longer time than this, µs.
_LONGEST = 2 * HOUR
_AT_ONCE = 5000
_KEYS = ("slots", "times", "durations")
_LOST = ("gpu_lost", "gpu_returned")
_DRIVER = {
    "driver_recovered": "ok",
    "driver_unresponsive": "unresponsive",
    "driver_absent": "absent",
    "driver_failed": "failed",
    "paused": "paused",
    "resumed": "ok",
}


def sight_of(connection: Connection, at: int, limits: Limits, metrics: Sequence[str]) -> Sight:
    """What was to be seen at a time (µs), with these metrics of the catalogue."""
    dialect = connection.dialect.name
    nodes, gpus = _nodes(connection, dialect, at), _gpus(connection, dialect, at)
    return Sight(at, limits, dialect, tables=Tables(nodes, gpus), seen=seen_then(connection, at, metrics), past=True)


def seen_then(connection: Connection, at: int, names: Iterable[str]) -> Seen:
    """The GPUs that had a sample of then, with these metrics, and numbers of identities."""
    names = list(dict.fromkeys(names))
    wanted = [BY_NAME[name] for name in names if name not in NUMBERS]
    numbers = [name for name in names if name in NUMBERS]
    sampled = [metric for metric in wanted if metric.cadence is Cadence.EVERY_SAMPLE]
    changed = [metric.name for metric in wanted if metric.cadence is Cadence.ON_CHANGE]
    n, g = schema.nodes.c, schema.gpus.c
    query = select(g.gpu_id, g.node_id, g.slot, g.model, n.site, n.interval_ms)
    held = query.join_from(schema.gpus, schema.nodes, g.node_id == n.node_id).where(g.first_seen <= at)
    known = {(row.node_id, row.slot): row for row in connection.execute(held)}
    found: list[tuple[Any, tuple[int, int], dict[str, int]]] = []
    for node_id, block in _blocks(connection, at, [metric.name for metric in sampled]):
        for slot, ts, duration, values in _newest(block, at):
            row = known.get((node_id, slot))
            if row is not None and at - ts <= silent_after(row.interval_ms):
                found.append((row, (ts, duration), values))
    newest = {row.gpu_id: (row, times, values) for row, times, values in sorted(found, key=lambda each: each[1])}
    return _seen(connection, at, list(newest.values()), sampled, changed, numbers)


def _seen(
    connection: Connection,
    at: int,
    found: Sequence[tuple[Any, tuple[int, int], dict[str, int]]],
    sampled: Sequence[Metric],
    changed: Sequence[str],
    numbers: Sequence[str],
) -> Seen:
    rows = [row for row, _, _ in found]
    sites, models = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("site", "model"))
    columns = {
        metric.name: in_unit(metric, _ints(values.get(metric.name, metric.lowest) for _, _, values in found))
        for metric in sampled
    }
    gpu_ids = [row.gpu_id for row in rows]
    columns |= _states(connection, at, gpu_ids, changed)
    if numbers:
        columns |= Identities().of(connection, _ints(gpu_ids), numbers)
    return Seen(
        gpu_id=_ints(gpu_ids),
        site=_ints(sites.index(row.site) for row in rows),
        sites=sites,
        model=_ints(models.index(row.model) for row in rows),
        models=models,
        ts=_ints(ts for _, (ts, _), _ in found),
        duration=_ints(duration for _, (_, duration), _ in found),
        columns=columns,
    )


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64)


def _states(connection: Connection, at: int, gpu_ids: Sequence[int], names: Sequence[str]) -> dict[str, Values]:
    found: States = {}
    for begin in range(0, len(gpu_ids), _AT_ONCE):
        found |= newest_states(connection, gpu_ids[begin : begin + _AT_ONCE], names, at)
    columns: dict[str, Values] = {}
    for name in names:
        metric, states = BY_NAME[name], [found.get((gpu_id, name)) for gpu_id in gpu_ids]
        absent = metric.absent(Reason.NOT_OBSERVED)
        stored = _ints(absent if state is None or state.value is None else state.value for state in states)
        since = _ints(0 if state is None else state.ts for state in states)
        columns[name], columns[name + SINCE] = in_unit(metric, stored), Values(since, since > 0)
    return columns


def _blocks(connection: Connection, at: int, names: Sequence[str]) -> Iterator[tuple[int, Block]]:
    """The blocks of all nodes that may hold the newest sample at a time."""
    oldest = at - silent_after(3_600_000)
    columns = [recent.c[name] for name in ("node_id", *_KEYS, *names)]
    new = select(*columns).where(recent.c.first > at - _LONGEST, recent.c.first <= at, recent.c.last > oldest)
    for row in connection.execute(new):
        yield row.node_id, blocks.from_recent(row._asdict(), names)
    table = SEALED.table
    spans = {begin_of(at - 10 * 60 * SECOND, HOUR), begin_of(at, HOUR)}
    old = select(*(table.c[name] for name in ("node_id", "points", *_KEYS, *names))).where(table.c.span.in_(spans))
    for row in connection.execute(old):
        yield row.node_id, blocks.from_planes(row._asdict(), SEALED, names)


def _newest(block: Block, at: int) -> Iterator[tuple[int, int, int, dict[str, int]]]:
    """Of each GPU of a block: slot, end (µs) and length (ms) of the last sample that ended at a time or before."""
    until = int(np.searchsorted(block.times, at, side="right"))
    there = block.durations[:until] > 0
    for place, slot in enumerate(block.slots.tolist()):
        which = np.flatnonzero(there[:, place])
        if len(which):
            last = which[-1]
            values = {name: int(column[last, place]) for name, column in block.columns.items()}
            yield slot, int(block.times[last]), int(block.durations[last, place]), values


def _nodes(connection: Connection, dialect: str, at: int) -> FromClause:
    n = schema.nodes
    ids = list(connection.execute(select(n.c.node_id).where(n.c.first_seen <= at)).scalars())
    heard, drivers = _heard(connection, at), _drivers(connection, at)
    rows = [(node_id, *_stood(node_id, heard, drivers, at)) for node_id in ids]
    names = ("node_id", "last_seen", "driver_state", "driver_since", "driver_detail")
    kinds = (BigInteger(), BigInteger(), String(), BigInteger(), String())
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    then = given(dialect, "then", dict(zip(names, zip(kinds, columns, strict=True), strict=True)))
    unknown = ("clock_offset", "clock_measured", "backlog_reports", "backlog_bytes", "backlog_dropped")
    same = [column for column in n.c if column.name not in (*names[1:], *unknown)]
    return (
        select(
            *same,
            *(then.c[name].label(name) for name in names[1:]),
            *(cast(null(), n.c[name].type).label(name) for name in unknown),
        )
        .select_from(n.join(then, then.c.node_id == n.c.node_id))
        .subquery("nodes_then")
    )


def _stood(
    node_id: int, heard: Mapping[int, int], drivers: Mapping[int, tuple[str, int, str]], at: int
) -> tuple[int, str, int, str]:
    """When a node was last heard, and how its driver stood: since when, and what was said of it."""
    state, since, detail = drivers.get(node_id, ("ok", 0, ""))
    last = heard.get(node_id, at - _LOOK_BACK)
    # Without a driver there are no samples to tell that it goes on.
    return last if state == "ok" else at, state, since, detail


def _heard(connection: Connection, at: int) -> dict[int, int]:
    """When the newest sample of each node ended, or its newest event came."""
    found: dict[int, int] = {}
    table = SEALED.table
    last = select(table.c.node_id, func.max(table.c.span).label("span"))
    last_spans = last.where(table.c.span < at, table.c.span >= at - _LOOK_BACK).group_by(table.c.node_id).subquery()
    same = (table.c.node_id == last_spans.c.node_id) & (table.c.span == last_spans.c.span)
    keys = [table.c[name] for name in ("node_id", "points", *_KEYS)]
    for row in connection.execute(select(*keys).select_from(table.join(last_spans, same))):
        times = blocks.from_planes(row._asdict(), SEALED, []).times
        before = times[times <= at]
        if len(before):
            found[row.node_id] = int(before[-1])
    new = select(recent.c.node_id, func.max(recent.c.last)).where(recent.c.first > at - _LOOK_BACK, recent.c.last <= at)
    came = select(schema.events.c.node_id, func.max(schema.events.c.received_at)).where(
        schema.events.c.ts > at - _LOOK_BACK, schema.events.c.ts <= at, schema.events.c.received_at <= at
    )
    for query in (new.group_by(recent.c.node_id), came.group_by(schema.events.c.node_id)):
        for node_id, ts in connection.execute(query):
            found[node_id] = max(found.get(node_id, 0), ts)
    return found


def _drivers(connection: Connection, at: int) -> dict[int, tuple[str, int, str]]:
    e = schema.events.c
    rows = connection.execute(_last_of(connection.dialect.name, e.node_id, at, list(_DRIVER), e.message))
    return {row.node_id: (_DRIVER[row.kind], row.ts, row.message[:256]) for row in rows}


def _gpus(connection: Connection, dialect: str, at: int) -> FromClause:
    g, e = schema.gpus, schema.events.c
    rows = connection.execute(_last_of(dialect, e.gpu_id, at, _LOST))
    lost = given(dialect, "lost", {"gpu_id": (BigInteger(), [row.gpu_id for row in rows if row.kind == "gpu_lost"])})
    # One that was lost when it was first seen has no event.
    ever = select(e.event_id).where(e.gpu_id == g.c.gpu_id, e.kind.in_(_LOST)).exists()
    same = [column for column in g.c if column.name not in ("lost", "removed_at")]
    return (
        select(
            *same,
            or_(g.c.gpu_id.in_(select(lost.c.gpu_id)), and_(g.c.lost, ~ever)).label("lost"),
            case((g.c.removed_at <= at, g.c.removed_at)).label("removed_at"),
        )
        .where(g.c.first_seen <= at)
        .subquery("gpus_then")
    )


def _last_of(dialect: str, whose: Any, at: int, kinds: Sequence[str], *more: Any) -> Any:
    """The newest event of these kinds of each node, or of each GPU."""
    e = schema.events.c
    own = e.kind.in_(kinds), e.ts <= at, whose.is_not(None)
    if dialect == "postgresql":
        query = select(whose, e.kind, e.ts, *more).where(*own)
        return query.ext(postgresql.distinct_on(whose)).order_by(whose, e.ts.desc())
    # Beside max() the other columns are of the row that has it.
    return select(whose, e.kind, func.max(e.ts).label("ts"), *more).where(*own).group_by(whose)
