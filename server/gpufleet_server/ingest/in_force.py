"""Rows of `latest_states`: what is in force of the metrics sent on change, by slot, for the nodes that told some."""

from collections.abc import Iterable

import numpy as np
from gpufleet_agent.catalogue import ON_CHANGE, Reason
from sqlalchemy import Connection

from gpufleet_server.ingest.memory import GpuTable, Node
from gpufleet_server.store.latest_states import latest_states
from gpufleet_server.store.upsert import Upsert, replace

_UPSERT = Upsert(latest_states, {metric.name: replace for metric in ON_CHANGE})
_NEVER = np.array([metric.absent(Reason.NOT_OBSERVED) for metric in ON_CHANGE], np.int64)


def write(connection: Connection, table: GpuTable, nodes: Iterable[Node]) -> None:
    """Write what the memory has of these nodes."""
    by_id = {node.node_id: node for node in nodes}
    _UPSERT.execute(connection, [(node_id, *_packed(table, node)) for node_id, node in sorted(by_id.items())])


def _packed(table: GpuTable, node: Node) -> list[bytes]:
    """A column a metric: of each slot the stored integer and since when, µs."""
    slots = [gpu.slot for gpu in node.gpus.values()]
    rows = [gpu.row for gpu in node.gpus.values()]
    # Some slots are partitions'.
    pairs = np.zeros((len(ON_CHANGE), max(slots) + 1, 2), "<i8")
    pairs[:, :, 0] = _NEVER[:, np.newaxis]
    since = table.told_at[rows].T
    pairs[:, slots, 0] = np.where(since > 0, table.told[rows].T, _NEVER[:, np.newaxis])
    pairs[:, slots, 1] = since
    return [column.tobytes() for column in pairs]
