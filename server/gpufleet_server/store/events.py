"""Inserts events, each with its place: boards of a large fleet choose by that which of very many they count."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, insert, select

from gpufleet_server.store.schema import events, gpus, nodes
from gpufleet_server.store.usage_places import Place, place_ids

# Nodes, or GPUs, that are looked up together: a statement takes so many values, and no more.
_AT_ONCE = 5000


def insert_events(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert events of nodes that are known, each with its place."""
    if rows:
        connection.execute(insert(events), placed(connection, rows))


def placed(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events with their `place_id`. What is of a node as a whole has no model."""
    sites = _by_id(connection, rows, nodes.c.node_id, nodes.c.site, nodes.c.simulated)
    models = _by_id(connection, rows, gpus.c.gpu_id, gpus.c.model)
    places: list[Place] = []
    for row in rows:
        site, simulated = sites[row["node_id"]]
        (model,) = models.get(row["gpu_id"], (None,))
        places.append((site or "", model or "", simulated))
    ids = place_ids(connection, places)
    return [row | {"place_id": ids[place]} for row, place in zip(rows, places, strict=True)]


def _by_id(
    connection: Connection, rows: Sequence[dict[str, Any]], key: Column[Any], *columns: Column[Any]
) -> dict[int, tuple[Any, ...]]:
    """Columns of the rows that events name by this key."""
    found: dict[int, tuple[Any, ...]] = {}
    those = sorted({row[key.name] for row in rows} - {None})
    for first in range(0, len(those), _AT_ONCE):
        some = connection.execute(select(key, *columns).where(key.in_(those[first : first + _AT_ONCE])))
        found |= {row[0]: tuple(row[1:]) for row in some}
    return found
