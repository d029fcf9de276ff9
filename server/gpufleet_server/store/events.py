"""Inserts events, each with its place: boards of a large fleet choose by that which of very many they count."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from gpufleet_server.store.schema import events, gpus, nodes
from gpufleet_server.store.usage_places import Place, place_ids

# Rows of which the nodes and GPUs are looked up together: a statement takes so many values, and no more.
_AT_ONCE = 5000


def insert_events(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert events of nodes that are known; their `place_id` is found here."""
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        places = _places(connection, some)
        ids = place_ids(connection, [*places.values()])
        placed = [row | {"place_id": ids[places[row["node_id"], row["gpu_id"]]]} for row in some]
        connection.execute(insert(events), placed)


def _places(connection: Connection, rows: Sequence[dict[str, Any]]) -> dict[tuple[int, int | None], Place]:
    """By node and GPU. What is of a node as a whole has no model."""
    some, those = ({row[name] for row in rows} - {None} for name in ("node_id", "gpu_id"))
    of_nodes = select(nodes.c.node_id, nodes.c.site, nodes.c.simulated).where(nodes.c.node_id.in_(some))
    of_gpus = select(gpus.c.gpu_id, gpus.c.model).where(gpus.c.gpu_id.in_(those))
    known = {node_id: (site or "", simulated) for node_id, site, simulated in connection.execute(of_nodes)}
    models = {gpu_id: model or "" for gpu_id, model in connection.execute(of_gpus)}
    found = {}
    for node_id, gpu_id in {(row["node_id"], row["gpu_id"]) for row in rows}:
        site, simulated = known[node_id]
        found[node_id, gpu_id] = (site, models.get(gpu_id, ""), simulated)
    return found
