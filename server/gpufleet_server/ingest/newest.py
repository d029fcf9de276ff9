"""Rows of `latest`: the newest sample of each of a node's GPUs, by slot. What comes late changes nothing there."""

from collections.abc import Iterable
from typing import Any

from gpufleet_agent import wire
from gpufleet_agent.catalogue import EVERY_SAMPLE, Reason
from sqlalchemy import Connection

from gpufleet_server.domain.use import Use
from gpufleet_server.ingest.cells import Placed
from gpufleet_server.ingest.columns import NAMES
from gpufleet_server.ingest.memory import Newest, Node
from gpufleet_server.store.tiers import latest
from gpufleet_server.store.upsert import Upsert, replace

# What is packed by slot, in the order in which Newest has it.
COLUMNS = (*NAMES, "use")
_UPSERT = Upsert(latest, dict.fromkeys(("ts", "durations", *COLUMNS), replace))
_WIDTHS = (*(metric.width for metric in EVERY_SAMPLE), 1)
_MISSING = (
    *(metric.absent(Reason.NOT_OBSERVED).to_bytes(metric.width, "little", signed=True) for metric in EVERY_SAMPLE),
    bytes([Use.UNKNOWN]),
)


def renew(placed: Placed, uses: bytes) -> bool:
    """Have the node remember the newest samples of a block; False where it knew newer ones of each of its GPUs.

    `uses` has a Use for each of its cells, an int8 each.
    """
    node, layout, block = placed.node, placed.layout, placed.block
    columns, gpus = (*block.columns, uses), len(layout.gpus)
    if len(block.times) > 1:
        columns = _last(columns, gpus)
    ts, duration = block.times[-1] + placed.offset, block.durations[-1]
    if layout.whole and (node.newest is None or ts > max(node.newest.ts)):
        node.newest = Newest([ts] * gpus, [duration] * gpus, columns)
        return True
    return _merge(node, [node.gpus[uuid].slot for uuid in layout.gpus], ts, duration, columns)


def write(connection: Connection, nodes: Iterable[Node]) -> None:
    """Write what these nodes remember."""
    known = ((node.node_id, node.newest) for node in nodes)
    _UPSERT.execute(connection, [_row(node_id, newest) for node_id, newest in known if newest is not None])


def _row(node_id: int, newest: Newest) -> tuple[Any, ...]:
    return (node_id, wire.pack(newest.ts, 8), wire.pack(newest.durations, 4), *newest.columns)


def _last(columns: tuple[bytes | None, ...], gpus: int) -> tuple[bytes | None, ...]:
    return tuple(
        column[-gpus * width :] if column is not None else None for column, width in zip(columns, _WIDTHS, strict=True)
    )


def _merge(node: Node, slots: list[int], ts: int, duration: int, columns: tuple[bytes | None, ...]) -> bool:
    old = node.newest or Newest([], [], (None,) * len(COLUMNS))
    more = max(gpu.slot for gpu in node.gpus.values()) + 1 - len(old.ts)
    times, durations = old.ts + [0] * more, old.durations + [0] * more
    newer = [(number, slot) for number, slot in enumerate(slots) if ts > times[slot]]
    for _, slot in newer:
        times[slot], durations[slot] = ts, duration
    if newer:
        merged = (
            _patched(before, column, newer, len(times), missing)
            for before, column, missing in zip(old.columns, columns, _MISSING, strict=True)
        )
        node.newest = Newest(times, durations, tuple(merged))
    return bool(newer)


def _patched(
    old: bytes | None, column: bytes | None, newer: list[tuple[int, int]], size: int, missing: bytes
) -> bytes | None:
    """A column of `latest` with the cells of a block put where they belong."""
    if old is None and column is None:
        return None
    width = len(missing)
    patched = bytearray(old or b"")
    patched += missing * (size - len(patched) // width)
    for number, slot in newer:
        cell = missing if column is None else column[number * width : (number + 1) * width]
        patched[slot * width : (slot + 1) * width] = cell
    return bytes(patched)
