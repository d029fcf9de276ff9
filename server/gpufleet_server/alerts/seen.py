"""The GPUs of which a sample of now is known, with what was measured, as arrays of the whole fleet."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from gpufleet_agent.catalogue import BY_NAME, RESERVED, Cadence, Metric, Reason
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Integer, func, literal_column, select
from sqlalchemy.dialects import postgresql

from gpufleet_server.alerts.identities import NUMBERS, Identities
from gpufleet_server.alerts.predicate import Values
from gpufleet_server.queries.present import DURATION, Present, present
from gpufleet_server.store.latest_states import latest_states

Ints = NDArray[np.int64]
# Of a metric sent on change: since when it is as it is, µs.
SINCE = "_since"
# Why a metric is absent, a Reason.
REASON = "_reason"


@dataclass(frozen=True, slots=True)
class Seen:
    """A cell a GPU: places of its site and model in `sites` and `models`; end (µs) and length (ms) of its sample.

    `columns`: metric → values in its unit, and where there are any; for metrics sent on change also `<metric>_since`;
    number of an identity → values.
    """

    gpu_id: Ints
    site: Ints
    sites: Sequence[str | None]
    model: Ints
    models: Sequence[str | None]
    ts: Ints
    duration: Ints
    columns: Mapping[str, Values]


def seen_now(connection: Connection, now: int, names: Iterable[str], identities: Identities | None = None) -> Seen:
    """The GPUs whose newest sample is of now, with these metrics of the catalogue and numbers of identities.

    `identities` are remembered from call to call.
    """
    names = list(dict.fromkeys(names))
    wanted = [BY_NAME[name] for name in names if name not in NUMBERS]
    numbers = [name for name in names if name in NUMBERS]
    sampled = [metric for metric in wanted if metric.cadence is Cadence.EVERY_SAMPLE]
    changed = [metric for metric in wanted if metric.cadence is Cadence.ON_CHANGE]
    fleet = present(connection, now, [DURATION, *(metric.name for metric in sampled)])
    which = np.flatnonzero(fleet.fresh)
    columns = {metric.name: in_unit(metric, fleet.stored[metric.name][which]) for metric in sampled}
    columns |= _in_force(connection, fleet, which, changed) if changed else {}
    if numbers:
        columns |= (identities or Identities()).of(connection, fleet.gpus.gpu_id[which], numbers)
    return Seen(
        gpu_id=fleet.gpus.gpu_id[which],
        site=fleet.site[which],
        sites=fleet.sites,
        model=fleet.gpus.model[which],
        models=fleet.gpus.models,
        ts=fleet.ts[which],
        duration=fleet.stored[DURATION][which],
        columns=columns,
    )


def in_unit(metric: Metric, stored: Ints) -> Values:
    """Stored integers as values in the metric's unit; whole numbers where its step is whole."""
    up, down = metric.step.numerator, metric.step.denominator
    data = stored * up if down == 1 else stored * up / down
    return Values(data, stored >= metric.lowest + RESERVED)


def reasons_of(metric: Metric, values: Values) -> Values:
    """Why values that `in_unit` gave are absent; NULL where they are not."""
    up, down = metric.step.numerator, metric.step.denominator
    stored = np.rint(values.data * down / up).astype(np.int64)
    return Values(stored - metric.lowest, np.logical_not(values.known))


def _in_force(connection: Connection, fleet: Present, which: Ints, metrics: Sequence[Metric]) -> dict[str, Values]:
    node_ids, lengths, packed = _read(connection, tuple(metric.name for metric in metrics))
    ends = np.cumsum(np.append(lengths, 0))
    order = np.argsort(node_ids)
    mine = fleet.gpus.node_id[which]
    place = np.append(order, len(node_ids))[np.searchsorted(node_ids, mine, sorter=order)]
    place = np.where(np.append(node_ids, -1)[place] == mine, place, len(node_ids))
    slot, sizes = fleet.gpus.slot[which], np.append(lengths, 0)
    # A GPU of which nothing was told has the cell behind all others.
    cells = np.where(slot < sizes[place], (ends - sizes)[place] + slot, ends[-1])
    columns: dict[str, Values] = {}
    for metric in metrics:
        pairs = np.frombuffer(packed[metric.name] + _never(metric), "<i8").reshape(-1, 2)[cells]
        columns[metric.name] = in_unit(metric, pairs[:, 0])
        columns[metric.name + SINCE] = Values(pairs[:, 1], pairs[:, 1] > 0)
    return columns


def _never(metric: Metric) -> bytes:
    return metric.absent(Reason.NOT_OBSERVED).to_bytes(8, "little", signed=True) + bytes(8)


def _read(connection: Connection, names: tuple[str, ...]) -> tuple[Ints, Ints, dict[str, bytes]]:
    """The ids of nodes, how many slots each has, and what is packed of each metric, all nodes' on end."""
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        return _put_together(driver, names)
    rows = connection.execute(select(latest_states.c.node_id, *(latest_states.c[name] for name in names))).all()
    # Columns that are of later versions than the row may be NULL or shorter.
    lengths = [max([len(part or b"") for part in row[1:]]) // 16 for row in rows]
    packed = {
        name: b"".join(_filled(row[number], length, name) for row, length in zip(rows, lengths, strict=True))
        for number, name in enumerate(names, 1)
    }
    return np.array([row.node_id for row in rows], np.int64), np.array(lengths, np.int64), packed


def _filled(part: bytes | None, length: int, name: str) -> bytes:
    there = part or b""
    return there + _never(BY_NAME[name]) * (length - len(there) // 16)


def _put_together(driver: psycopg.Connection[Any], names: tuple[str, ...]) -> tuple[Ints, Ints, dict[str, bytes]]:
    """The same in one row of PostgreSQL, as queries/present.py does it, and why."""
    with driver.cursor(binary=True) as cursor:
        found = cursor.execute(_statement(names)).fetchall()[0]
    # Of no rows nothing is put together.
    ids, lengths, *packed = (each or b"" for each in found)
    node_ids = np.frombuffer(ids, ">i8").astype(np.int64)
    return node_ids, np.frombuffer(lengths, ">i4").astype(np.int64), dict(zip(names, packed, strict=True))


@functools.lru_cache(64)
def _statement(names: tuple[str, ...]) -> bytes:
    lengths = {name: func.coalesce(func.length(latest_states.c[name]), 0, type_=Integer) for name in names}
    length = func.greatest(*lengths.values(), type_=Integer)
    parts: list[ColumnElement[Any]] = [func.int8send(latest_states.c.node_id), func.int4send(length // 16)]
    for name in names:
        column = latest_states.c[name]
        missing: ColumnElement[str] = literal_column(f"'{_never(BY_NAME[name]).hex()}'")
        short = (length - lengths[name]) // 16
        filled = func.decode(func.repeat(missing, short), "hex")
        parts.append(func.coalesce(column, literal_column("''::bytea")).op("||")(filled))
    query = select(*(func.string_agg(part, literal_column("''::bytea")) for part in parts))
    compiled = query.compile(
        dialect=postgresql.psycopg.dialect(),  # type: ignore[no-untyped-call]
        compile_kwargs={"literal_binds": True},
    )
    return str(compiled).encode()
