"""Which GPUs the fleet has, as arrays; kept between questions for large fleets, for rosters hardly ever change."""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, select

from gpufleet_server.store.schema import gpus

Ints = NDArray[np.int64]
# Up to so many GPUs are read anew each time.
_SMALL = 5000
# With more nodes whose roster changed than this all are read.
_MANY = 500
COLUMNS = (gpus.c.gpu_id, gpus.c.node_id, gpus.c.slot, gpus.c.memory_total, gpus.c.model)


@dataclasses.dataclass(frozen=True, slots=True)
class Roster:
    """GPUs that nodes hold: `model` indexes `models`; memory in bytes, -1 where unknown."""

    gpu_id: Ints
    node_id: Ints
    slot: Ints
    memory: Ints
    model: Ints
    models: list[str | None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    digests: Mapping[int, str]
    roster: Roster


_kept: WeakKeyDictionary[Engine, _Kept] = WeakKeyDictionary()
_lock = threading.Lock()


def held(connection: Connection, digests: Mapping[int, str]) -> Roster:
    """The GPUs that nodes hold, given the digest of each node's roster now (by node_id)."""
    with _lock:
        kept = _kept.get(connection.engine)
    if kept is None:
        return _keep(connection, digests, _read(connection, None))
    if kept.digests == digests:
        return kept.roster
    changed = [node_id for node_id, digest in digests.items() if kept.digests.get(node_id) != digest]
    if len(changed) > _MANY:
        return _keep(connection, digests, _read(connection, None))
    rest = ~np.isin(kept.roster.node_id, [*changed, *(kept.digests.keys() - digests.keys())])
    return _keep(connection, digests, joined(kept.roster, rest, _read(connection, changed)))


def _keep(connection: Connection, digests: Mapping[int, str], found: Roster) -> Roster:
    if len(found.gpu_id) > _SMALL:
        with _lock:
            _kept[connection.engine] = _Kept(dict(digests), found)
    return found


def _read(connection: Connection, nodes: Sequence[int] | None) -> Roster:
    query = select(*COLUMNS).where(gpus.c.removed_at.is_(None))
    if nodes is not None:
        query = query.where(gpus.c.node_id.in_(nodes))
    return of_rows(connection.execute(query).all())


def of_rows(rows: Sequence[Sequence[Any]]) -> Roster:
    """Rows of COLUMNS, and perhaps more, as arrays."""
    *numbers, models = zip(*(row[: len(COLUMNS)] for row in rows), strict=True) if rows else ((),) * len(COLUMNS)
    known = list(dict.fromkeys(models))
    places = {model: place for place, model in enumerate(known)}
    gpu_id, node_id, slot, memory = (_ints(column) for column in numbers)
    return Roster(gpu_id, node_id, slot, memory, _ints([places[model] for model in models]), known)


def _ints(column: Sequence[Any]) -> Ints:
    return np.array([-1 if value is None else value for value in column], np.int64)


def joined(old: Roster, rest: NDArray[np.bool_], new: Roster) -> Roster:
    """Those of the old ones that are left, and the new ones."""
    if rest.all() and not len(new.gpu_id):
        return old
    models = list(dict.fromkeys([*old.models, *new.models]))
    renamed = _ints([models.index(model) for model in new.models])
    gpu_id, node_id, slot, memory = (
        np.concatenate((getattr(old, name)[rest], getattr(new, name)))
        for name in ("gpu_id", "node_id", "slot", "memory")
    )
    model = np.concatenate((old.model[rest], renamed[new.model]))
    return Roster(gpu_id, node_id, slot, memory, model, models)
