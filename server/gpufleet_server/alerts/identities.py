"""What GPUs say they are, as numbers: arrays of the whole fleet, read again only of nodes that sent another roster."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, ColumnElement, Connection, Float, case, select
from sqlalchemy.types import TypeEngine

from gpufleet_server.alerts.predicate import Values
from gpufleet_server.store.schema import gpus, nodes

Ints = NDArray[np.int64]
# Identities are some KB each: those of so many nodes are read at once.
_NODES = 500


@dataclass(frozen=True, slots=True)
class Number:
    """A number of an identity: how it is read from JSON, and in SQL from a column with JSON."""

    kind: TypeEngine[Any]
    read: Callable[[Mapping[str, Any]], float | None]
    sql: Callable[[ColumnElement[Any]], ColumnElement[Any]]


def _whole(field: str) -> Number:
    return Number(BigInteger(), lambda identity: identity.get(field), lambda json: json[field].as_integer())


def _part(field: str) -> Number:
    return Number(Float(53), lambda identity: identity.get(field), lambda json: json[field].as_float())


def _enabled(field: str) -> Number:
    """1 where a mode is enabled, 0 where it is disabled."""
    words = {"enabled": 1, "disabled": 0}
    return Number(
        BigInteger(),
        lambda identity: words.get(identity.get(field, "")),
        lambda json: case(words, value=json[field].as_string()),
    )


NUMBERS: Mapping[str, Number] = {
    **{name: _whole(name) for name in ("pcie_generation_max", "pcie_width_max", "sm_clock_max")},
    "power_limit_default": _part("power_limit_default"),
    "ecc_enabled": _enabled("ecc_mode"),
    "ecc_pending_enabled": _enabled("ecc_mode_pending"),
    "mig_enabled": _enabled("mig_mode"),
    "mig_pending_enabled": _enabled("mig_mode_pending"),
    "persistence_enabled": _enabled("persistence_mode"),
}


class Identities:
    """Remembers the numbers of all GPUs' identities, and of which roster of their nodes they are."""

    def __init__(self) -> None:
        self._rosters: dict[int, str] = {}
        self._gpu_id: Ints = np.zeros(0, np.int64)
        self._node_id: Ints = np.zeros(0, np.int64)
        # A column a number; NaN where it is not told.
        self._numbers: NDArray[np.float64] = np.zeros((0, len(NUMBERS)))

    def of(self, connection: Connection, gpu_ids: Ints, names: Iterable[str]) -> dict[str, Values]:
        """These numbers of these GPUs."""
        self._look(connection)
        order = np.argsort(self._gpu_id)
        place = np.append(order, len(order))[np.searchsorted(self._gpu_id, gpu_ids, sorter=order)]
        known = np.append(self._gpu_id, -1)[place] == gpu_ids
        numbers = np.vstack([self._numbers, np.full((1, len(NUMBERS)), np.nan)])
        found = numbers[np.where(known, place, len(order))]
        return {name: _values(name, found[:, list(NUMBERS).index(name)]) for name in names}

    def _look(self, connection: Connection) -> None:
        rosters = dict(map(tuple, connection.execute(select(nodes.c.node_id, nodes.c.roster_digest))))
        changed = [node_id for node_id, digest in rosters.items() if self._rosters.get(node_id) != digest]
        for begin in range(0, len(changed), _NODES):
            self._read(connection, changed[begin : begin + _NODES])
        self._rosters = rosters

    def _read(self, connection: Connection, node_ids: Sequence[int]) -> None:
        query = select(gpus.c.gpu_id, gpus.c.node_id, gpus.c.identity).where(gpus.c.node_id.in_(node_ids))
        rows = connection.execute(query).all()
        numbers = [[number.read(row.identity) for number in NUMBERS.values()] for row in rows]
        keep = ~np.isin(self._node_id, node_ids)
        self._gpu_id = np.concatenate([self._gpu_id[keep], np.array([row.gpu_id for row in rows], np.int64)])
        self._node_id = np.concatenate([self._node_id[keep], np.array([row.node_id for row in rows], np.int64)])
        read = np.array(numbers, np.float64).reshape(-1, len(NUMBERS))
        self._numbers = np.concatenate([self._numbers[keep], read])


def _values(name: str, numbers: NDArray[np.float64]) -> Values:
    known = ~np.isnan(numbers)
    data = np.where(known, numbers, 0)
    return Values(data.astype(np.int64) if isinstance(NUMBERS[name].kind, BigInteger) else data, known)
