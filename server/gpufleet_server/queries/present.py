"""The whole fleet as it is now, as arrays: a row a node is read, where a database would take every byte by itself."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from gpufleet_agent.catalogue import BY_NAME, RESERVED
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, or_, select

from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.queries import condition, roster
from gpufleet_server.queries.roster import Roster
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import latest

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
_Columns = Mapping[str, Sequence[Any]]
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


def present(connection: Connection, now: int, metrics: Iterable[str]) -> Present:
    """The fleet at `now` (µs), with these metrics of every sample."""
    names = list(metrics)
    of_node = _nodes(connection, now, names)
    unwell = _unwell(connection)
    removed = [row for row in unwell if row.removed_at is not None]
    held = roster.held(connection, dict(zip(of_node["node_id"], of_node["roster_digest"], strict=True)))
    those = roster.joined(held, ~np.isin(held.gpu_id, [row.gpu_id for row in removed]), roster.of_rows(removed))
    node = np.searchsorted(np.array(of_node["node_id"], np.int64), those.node_id)
    cells = _Cells(of_node, node, those.slot)
    state = np.array(list(map(_OF_NODE.__getitem__, of_node["state"])), np.int64)[node]
    lost = np.isin(those.gpu_id, [row.gpu_id for row in unwell]) & (state != STATES.index(GpuState.NOT_REPORTING))
    state[lost] = STATES.index(GpuState.LOST)
    state[np.isin(those.gpu_id, [row.gpu_id for row in removed])] = STATES.index(GpuState.REMOVED)
    ts, patience = cells.read("ts", 8, 0), np.array(of_node["patience"], np.int64)[node]
    places = {site: place for place, site in enumerate(dict.fromkeys(of_node["site"]))}
    return Present(
        gpus=those,
        sites=list(places),
        site=np.array(list(map(places.__getitem__, of_node["site"])), np.int64)[node],
        simulated=np.array(of_node["simulated"], bool)[node],
        state=state,
        fresh=(state == STATES.index(GpuState.REPORTING)) & (ts > 0) & (now - ts <= patience),
        stored={name: cells.read(name, BY_NAME[name].width, BY_NAME[name].lowest) for name in names},
    )


class _Cells:
    """Reads packed integers of nodes, each GPU's in the slot of its node."""

    def __init__(self, of_node: _Columns, node: Ints, slot: Ints) -> None:
        self._of_node = of_node
        self._bytes = np.array([len(packed) if packed else 0 for packed in of_node["ts"]], np.int64)
        lengths = self._bytes // 8
        begins = np.cumsum(lengths) - lengths
        # A GPU that was never sampled has the cell behind all others.
        self._cells = np.where(slot < lengths[node], begins[node] + slot, lengths.sum())

    def read(self, name: str, width: int, missing: int) -> Ints:
        """A column, a cell a GPU; `missing` where there is nothing."""
        nothing = missing.to_bytes(width, "little", signed=True)
        parts = self._of_node[name]
        if None in parts:
            lengths = (self._bytes // 8).tolist()
            parts = [nothing * length if part is None else part for part, length in zip(parts, lengths, strict=True)]
        whole = np.frombuffer(b"".join((*parts, nothing)), f"<i{width}")
        found: Ints = whole.astype(np.int64)[self._cells]
        return found


def _any_of(names: Sequence[str | None], wanted: Sequence[str]) -> Mask:
    return np.array([not wanted or name in wanted for name in names], bool)


def _nodes(connection: Connection, now: int, metrics: Sequence[str]) -> _Columns:
    of_node = [nodes.c[name] for name in ("node_id", "site", "simulated", "roster_digest")]
    state, patience = condition.node_state(now).label("state"), condition.tolerance().label("patience")
    query = select(*of_node, state, patience, latest.c.ts, *(latest.c[name] for name in metrics))
    joined = query.join_from(nodes, latest, latest.c.node_id == nodes.c.node_id, isouter=True)
    names = query.selected_columns.keys()
    rows = _all(connection, joined.order_by(nodes.c.node_id))
    return dict(zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True))


def _all(connection: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        return connection.execute(query).all()
    # In binary form: bytes as text take twice the room and, for a fleet, most of the time.
    text = str(query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    with driver.cursor(binary=True) as cursor:
        return cursor.execute(text.encode()).fetchall()


def _unwell(connection: Connection) -> Sequence[Row[Any]]:
    """The few GPUs that are lost or were removed: always read anew."""
    columns = (*roster.COLUMNS, gpus.c.removed_at)
    query: Select[Any] = select(*columns).where(or_(gpus.c.lost, gpus.c.removed_at.is_not(None)))
    return connection.execute(query).all()
