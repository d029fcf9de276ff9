"""The whole fleet as it is now, as arrays: a row a node is read, where a database would take every byte by itself."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from gpufleet_agent.catalogue import BY_NAME, RESERVED
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.queries import condition, roster
from gpufleet_server.queries.roster import Roster
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import latest

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
STATES = tuple(GpuState)
_OF_NODE = {state.value: STATES.index(GpuState(state.value)) for state in NodeState}


@dataclasses.dataclass(frozen=True, slots=True)
class Present:
    """A cell a GPU, removed ones included.

    `site` and `state` are places in `sites` and STATES; `fresh`: it reports, and its newest sample is of now; `stored`:
    metric → stored integers of the newest samples, the lowest where absent.
    """

    gpus: Roster
    sites: list[str | None]
    site: Ints
    simulated: Mask
    state: Ints
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

    def among(self, sites: Sequence[str], models: Sequence[str]) -> Mask:
        """Which are of these sites and models; none given means any."""
        return _any_of(self.sites, sites)[self.site] & _any_of(self.gpus.models, models)[self.gpus.model]


@dataclasses.dataclass(frozen=True, slots=True)
class _Nodes:
    """Nodes by their ids. `lengths`: the bytes of each one's packed times; `packed`: columns, all nodes' on end."""

    node_id: Ints
    site: Sequence[str | None]
    simulated: Mask
    digest: Sequence[str]
    state: Sequence[str]
    patience: Ints
    lengths: Ints
    packed: Mapping[str, bytes]


def present(connection: Connection, now: int, metrics: Iterable[str]) -> Present:
    """The fleet at `now` (µs), with these metrics of every sample."""
    names = list(metrics)
    of_node = _nodes(connection, now, names)
    unwell = _unwell(connection)
    removed = [row for row in unwell if row.removed_at is not None]
    held = roster.held(connection, dict(zip(of_node.node_id.tolist(), of_node.digest, strict=True)))
    those = roster.joined(held, ~np.isin(held.gpu_id, [row.gpu_id for row in removed]), roster.of_rows(removed))
    node = np.searchsorted(of_node.node_id, those.node_id)
    cells = _Cells(of_node, node, those.slot)
    state = np.array(list(map(_OF_NODE.__getitem__, of_node.state)), np.int64)[node]
    lost = np.isin(those.gpu_id, [row.gpu_id for row in unwell]) & (state != STATES.index(GpuState.NOT_REPORTING))
    state[lost] = STATES.index(GpuState.LOST)
    state[np.isin(those.gpu_id, [row.gpu_id for row in removed])] = STATES.index(GpuState.REMOVED)
    ts = cells.read("ts", 8, 0)
    places = {site: place for place, site in enumerate(dict.fromkeys(of_node.site))}
    return Present(
        gpus=those,
        sites=list(places),
        site=np.array(list(map(places.__getitem__, of_node.site)), np.int64)[node],
        simulated=of_node.simulated[node],
        state=state,
        fresh=(state == STATES.index(GpuState.REPORTING)) & (ts > 0) & (now - ts <= of_node.patience[node]),
        stored={name: cells.read(name, BY_NAME[name].width, BY_NAME[name].lowest) for name in names},
    )


class _Cells:
    """Reads packed integers of nodes, each GPU's in the slot of its node."""

    def __init__(self, of_node: _Nodes, node: Ints, slot: Ints) -> None:
        self._packed = of_node.packed
        lengths = of_node.lengths // 8
        begins = np.cumsum(lengths) - lengths
        # A GPU that was never sampled has the cell behind all others.
        self._cells = np.where(slot < lengths[node], begins[node] + slot, lengths.sum())

    def read(self, name: str, width: int, missing: int) -> Ints:
        """A column, a cell a GPU; `missing` where there is nothing."""
        whole = np.frombuffer(self._packed[name] + _cell(missing, width), f"<i{width}")
        found: Ints = whole[self._cells].astype(np.int64)
        return found


def _cell(stored: int, width: int) -> bytes:
    return stored.to_bytes(width, "little", signed=True)


def _any_of(names: Sequence[str | None], wanted: Sequence[str]) -> Mask:
    return np.array([not wanted or name in wanted for name in names], bool)


def _nodes(connection: Connection, now: int, metrics: Sequence[str]) -> _Nodes:
    of_node = [nodes.c[name] for name in ("node_id", "site", "simulated", "roster_digest")]
    state, patience = condition.node_state(now).label("state"), condition.tolerance().label("patience")
    query = select(*of_node, state, patience, latest.c.ts, *(latest.c[name] for name in metrics))
    joined = query.join_from(nodes, latest, latest.c.node_id == nodes.c.node_id, isouter=True)
    query = joined.order_by(nodes.c.node_id)
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        return _put_together(connection, driver, query, metrics)
    return _of_rows(connection.execute(query).all(), metrics)


def _of_rows(rows: Sequence[Sequence[Any]], metrics: Sequence[str]) -> _Nodes:
    columns: list[Sequence[Any]] = [*zip(*rows, strict=True)] if rows else [()] * (7 + len(metrics))
    node_id, site, simulated, digest, state, patience, ts, *stored = columns
    lengths = [len(times or b"") for times in ts]
    packed = {"ts": b"".join(times or b"" for times in ts)}
    for name, column in zip(metrics, stored, strict=True):
        missing = _cell(BY_NAME[name].lowest, BY_NAME[name].width)
        cells = (missing * (n // 8) if cell is None else cell for cell, n in zip(column, lengths, strict=True))
        packed[name] = b"".join(cells)
    ids, patient, sizes = (np.array(each, np.int64) for each in (node_id, patience, lengths))
    return _Nodes(ids, site, np.array(simulated, bool), digest, state, patient, sizes, packed)


def _put_together(
    connection: Connection, driver: psycopg.Connection[Any], query: Select[Any], metrics: Sequence[str]
) -> _Nodes:
    """The same, put together by PostgreSQL into one row: thousands of them take longer to send and to take apart."""
    rows = query.subquery("rows")
    ts = func.coalesce(rows.c.ts, literal_column("''::bytea"))
    parts = [
        _joined(func.int8send(rows.c.node_id)),
        func.array_agg(rows.c.site),
        _joined(func.int4send(cast(rows.c.simulated, Integer))),
        func.array_agg(rows.c.roster_digest),
        func.array_agg(rows.c.state),
        _joined(func.int8send(cast(rows.c.patience, BigInteger))),
        _joined(func.int4send(func.length(ts))),
        _joined(ts),
    ]
    for name in metrics:
        missing = _cell(BY_NAME[name].lowest, BY_NAME[name].width).hex()
        filled = func.decode(func.repeat(missing, func.length(ts).op("/")(8)), "hex")
        parts.append(_joined(func.coalesce(rows.c[name], filled)))
    # In binary form: bytes as text take twice the room.
    text = str(select(*parts).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    with driver.cursor(binary=True) as cursor:
        found = cursor.execute(text.encode()).fetchall()[0]
    # Of no rows nothing is put together.
    nothing: tuple[Any, ...] = (b"", (), b"", (), (), b"", b"", *[b""] * (1 + len(metrics)))
    whole = nothing if found[0] is None else found
    node_id, site, simulated, digest, state, patience, sizes, times, *columns = whole
    packed = {"ts": times} | dict(zip(metrics, columns, strict=True))
    ids, patient = (np.frombuffer(each, ">i8").astype(np.int64) for each in (node_id, patience))
    flags, lengths = (np.frombuffer(each, ">i4").astype(np.int64) for each in (simulated, sizes))
    return _Nodes(ids, site, flags.astype(bool), digest, state, patient, lengths, packed)


def _joined(packed: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.string_agg(packed, literal_column("''::bytea"))


def _unwell(connection: Connection) -> Sequence[Row[Any]]:
    """The few GPUs that are lost or were removed: always read anew."""
    columns = (*roster.COLUMNS, gpus.c.removed_at)
    query: Select[Any] = select(*columns).where(or_(gpus.c.lost, gpus.c.removed_at.is_not(None)))
    return connection.execute(query).all()
