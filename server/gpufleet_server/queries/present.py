"""The whole fleet as it is now, as arrays: a row a node is read, where a database would take every byte by itself."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from gpufleet_agent.catalogue import BY_NAME, RESERVED
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql

from gpufleet_server.domain.state import UNSEEN, GpuState, NodeState
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import condition, roster
from gpufleet_server.queries.frame import FINGERPRINT, Frame, Mask, frame
from gpufleet_server.queries.roster import Ints, Roster
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import latest

STATES = tuple(GpuState)
# The column of what a GPU was used for in its newest sample, a Use; that of how long it is, ms.
USE = "use"
DURATION = "durations"
# What is not a metric: the bytes of a cell, and what stands where there is nothing.
_OTHERS = {USE: (1, int(Use.UNKNOWN)), DURATION: (4, 0)}
_OF_NODE = {state.value: STATES.index(GpuState(state.value)) for state in NodeState}
_UNSEEN = [_OF_NODE[state.value] for state in UNSEEN]


@dataclasses.dataclass(frozen=True, slots=True)
class Present:
    """A cell a GPU, removed ones included.

    `node` is the place of its node in `frame` and `node_state`; `site` and `state` are places in `sites` and STATES;
    `ts`: when its newest sample ended, µs, 0 where there is none; `fresh`: it reports, and that is of now; `stored`:
    metric → stored integers of the newest samples, the lowest where absent.
    """

    frame: Frame
    node_state: Ints
    gpus: Roster
    node: Ints
    sites: list[str | None]
    site: Ints
    simulated: Mask
    state: Ints
    ts: Ints
    fresh: Mask
    stored: dict[str, Ints]

    @property
    def owned(self) -> Mask:
        """Which were not removed."""
        found: Mask = self.state != STATES.index(GpuState.REMOVED)
        return found

    def here(self, metric: str) -> Mask:
        """Which have a value of a metric in their newest sample."""
        found: Mask = self.stored[metric] >= BY_NAME[metric].lowest + RESERVED
        return found

    def nodes_among(self, sites: Sequence[str], models: Sequence[str]) -> Mask:
        """Which nodes of the frame are: a node is of a model when one of its GPUs is."""
        found = _any_of(self.sites, sites)[self.frame.site]
        if models:
            found &= np.isin(np.arange(len(found)), self.node[self.owned & self.among(sites, models)])
        return found

    def among(self, sites: Sequence[str], models: Sequence[str]) -> Mask:
        """Which are of these sites and models; none given means any."""
        return _any_of(self.sites, sites)[self.site] & _any_of(self.gpus.models, models)[self.gpus.model]


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    """What was read of nodes and of their newest samples, each in an order of its own.

    `state` is a place in STATES, `patience` µs. `lengths`: the bytes of the packed times of each of `sampled`;
    `packed`: its columns, all nodes' on end.
    """

    fingerprint: int | None
    node_id: Ints
    state: Ints
    patience: Ints
    sampled: Ints
    lengths: Ints
    packed: Mapping[str, bytes]


def present(connection: Connection, now: int, metrics: Iterable[str]) -> Present:
    """The fleet at `now` (µs), with these metrics of every sample, USE or DURATION."""
    names = list(metrics)
    # In this order no GPU is of a node that the frame does not have.
    unwell = _unwell(connection)
    read = _read(connection, now, names)
    held = frame(connection, read.fingerprint)
    gone = roster.of_rows([row for row in unwell if row.removed_at is not None])
    rest = ~np.isin(held.gpus.gpu_id, gone.gpu_id)
    those = roster.joined(held.gpus, rest, gone)
    node = np.concatenate((held.node[rest], np.searchsorted(held.node_id, gone.node_id)))
    # A node that is newer than what was read has not reported yet.
    silent = STATES.index(GpuState.NOT_REPORTING)
    place = _places(read.node_id, held.node_id)
    node_state, patience = np.append(read.state, silent)[place], np.append(read.patience, 0)[place]
    state = node_state[node]
    lost = np.isin(those.gpu_id, [row.gpu_id for row in unwell]) & ~np.isin(state, _UNSEEN)
    state[lost] = STATES.index(GpuState.LOST)
    state[np.isin(those.gpu_id, gone.gpu_id)] = STATES.index(GpuState.REMOVED)
    cells = _Cells(read, held.node_id, node, those.slot)
    ts = cells.read("ts", 8, 0)
    return Present(
        frame=held,
        node_state=node_state,
        gpus=those,
        node=node,
        sites=held.sites,
        site=held.site[node],
        simulated=held.simulated[node],
        state=state,
        ts=ts,
        fresh=(state == STATES.index(GpuState.REPORTING)) & (ts > 0) & (now - ts <= patience[node]),
        stored={name: cells.read(name, *_packing(name)) for name in names},
    )


class _Cells:
    """Reads packed integers of nodes, each GPU's in the slot of its node."""

    def __init__(self, read: _Read, node_id: Ints, node: Ints, slot: Ints) -> None:
        self._packed = read.packed
        lengths, place = np.append(read.lengths // 8, 0), _places(read.sampled, node_id)[node]
        ends = np.cumsum(lengths)
        # A GPU that was never sampled has the cell behind all others.
        self._cells = np.where(slot < lengths[place], (ends - lengths)[place] + slot, ends[-1])

    def read(self, name: str, width: int, missing: int) -> Ints:
        """A column, a cell a GPU; `missing` where there is nothing."""
        whole = np.frombuffer(self._packed[name] + _cell(missing, width), f"<i{width}")
        found: Ints = whole[self._cells].astype(np.int64)
        return found


def _places(ids: Ints, wanted: Ints) -> Ints:
    """Where each wanted id stands among ids of any order; behind them all where it does not."""
    order = np.argsort(ids)
    found = np.append(order, len(ids))[np.searchsorted(ids, wanted, sorter=order)]
    return np.where(np.append(ids, -1)[found] == wanted, found, len(ids))


def _packing(name: str) -> tuple[int, int]:
    """The bytes of a cell of a column, and what stands where there is nothing."""
    return _OTHERS[name] if name in _OTHERS else (BY_NAME[name].width, BY_NAME[name].lowest)


def _missing(name: str) -> bytes:
    width, stored = _packing(name)
    return _cell(stored, width)


def _cell(stored: int, width: int) -> bytes:
    return stored.to_bytes(width, "little", signed=True)


def _any_of(names: Sequence[str | None], wanted: Sequence[str]) -> Mask:
    return np.array([not wanted or name in wanted for name in names], bool)


def _read(connection: Connection, now: int, metrics: Sequence[str]) -> _Read:
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        return _put_together(driver, now, tuple(metrics))
    of_nodes = connection.execute(select(nodes.c.node_id, _state(now), condition.tolerance())).all()
    sampled = connection.execute(select(latest.c.node_id, latest.c.ts, *(latest.c[name] for name in metrics))).all()
    return _of_rows(of_nodes, sampled, metrics)


def _state(now: int | ColumnElement[int]) -> ColumnElement[int]:
    return case(_OF_NODE, value=condition.node_state(now))


def _of_rows(of_nodes: Sequence[Row[Any]], sampled: Sequence[Row[Any]], metrics: Sequence[str]) -> _Read:
    node_id, state, patience = (np.array([row[n] for row in of_nodes], np.int64) for n in range(3))
    packed = {"ts": b"".join(row.ts for row in sampled)}
    for number, name in enumerate(metrics, 2):
        packed[name] = b"".join(row[number] or _missing(name) * (len(row.ts) // 8) for row in sampled)
    ids, lengths = (
        np.array(each, np.int64) for each in ([row.node_id for row in sampled], [len(row.ts) for row in sampled])
    )
    return _Read(None, node_id, state, patience, ids, lengths, packed)


def _put_together(driver: psycopg.Connection[Any], now: int, metrics: tuple[str, ...]) -> _Read:
    """The same, put together by PostgreSQL into one row: thousands of them take longer to send and to take apart."""
    statement, parameters = _statement(metrics)
    # In binary form: bytes as text take twice the room.
    with driver.cursor(binary=True) as cursor:
        mark, *found = cursor.execute(statement, {**parameters, "now": now}).fetchall()[0]
    # Of no rows nothing is put together.
    node_id, states, patience, sampled, lengths, *packed = (each or b"" for each in found)
    ids, patient, sampled_ids = (np.frombuffer(each, ">i8").astype(np.int64) for each in (node_id, patience, sampled))
    places, sizes = (np.frombuffer(each, ">i4").astype(np.int64) for each in (states, lengths))
    return _Read(mark, ids, places, patient, sampled_ids, sizes, dict(zip((*metrics, "ts"), packed, strict=True)))


@functools.lru_cache(64)
def _statement(metrics: tuple[str, ...]) -> tuple[bytes, Mapping[str, Any]]:
    """The statement and its parameters but for `now`; to make it takes a quarter as long as to run it.

    Neither joined nor sorted there, which takes longer than it does here.
    """
    told = select(
        FINGERPRINT,
        _joined(func.int8send(nodes.c.node_id)),
        _joined(func.int4send(_state(bindparam("now", type_=BigInteger)))),
        _joined(func.int8send(condition.tolerance())),
    ).subquery()
    ts = latest.c.ts
    newest = [_joined(func.int8send(latest.c.node_id)), _joined(func.int4send(func.length(ts)))]
    for name in metrics:
        missing: ColumnElement[str] = literal_column(f"'{_missing(name).hex()}'")
        filled = func.decode(func.repeat(missing, func.length(ts).op("/")(8)), "hex")
        newest.append(_joined(func.coalesce(latest.c[name], filled)))
    query = select(text("*")).select_from(told.join(select(*newest, _joined(ts)).subquery(), true()))
    compiled = query.compile(dialect=postgresql.psycopg.dialect())  # type: ignore[no-untyped-call]
    return str(compiled).encode(), compiled.params


def _joined(packed: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.string_agg(packed, literal_column("''::bytea"))


def _unwell(connection: Connection) -> Sequence[Row[Any]]:
    """The few GPUs that are lost or were removed: always read anew."""
    columns = (*roster.COLUMNS, gpus.c.removed_at)
    query: Select[Any] = select(*columns).where(or_(gpus.c.lost, gpus.c.removed_at.is_not(None)))
    return connection.execute(query).all()
