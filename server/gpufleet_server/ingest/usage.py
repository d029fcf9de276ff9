"""Rows of `usage_recent` and `latest_usage`: the pieces of usage intervals that reports bring, packed as they are."""

import dataclasses
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from gpufleet_server.ingest.holders import Named, ids
from gpufleet_server.ingest.memory import Memory, Node
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.upsert import Upsert, replace
from gpufleet_server.store.usage import RECORD, latest_usage, usage_recent

_COLUMNS = ("node_id", "received_at", "pieces", "partitions")
# RECORDs, and the partitions that they refer to, a line each.
_Packed = tuple[list[bytes], str | None]
_LATEST = Upsert(latest_usage, {"at": replace, "pieces": replace, "partitions": replace})


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A report of a node whose GPUs are all known, and what corrects its times, µs."""

    node: Node
    prepared: Prepared
    offset: int

    @property
    def at(self) -> int:
        """When it was made, corrected, µs."""
        return self.prepared.report.created.wall + self.offset


def write(connection: Connection, memory: Memory, reports: Sequence[Told]) -> int:
    """Store the pieces of these reports; how many there were."""
    told = [each for each in reports if each.prepared.report.usage]
    named = [Named(each.node, each.prepared.report.holders, each.at, each.prepared.received_at) for each in told]
    known = ids(connection, memory, named) if named else []
    packed = [_packed(each, of) for each, of in zip(told, known, strict=True)]
    rows = [
        (each.node.node_id, each.prepared.received_at, b"".join(records), partitions)
        for each, (records, partitions) in zip(told, packed, strict=True)
    ]
    if rows:
        insert_rows(connection, usage_recent, _COLUMNS, rows)
    _renew(connection, reports, {id(each.prepared.report): one for each, one in zip(told, packed, strict=True)})
    return sum(len(records) for records, _ in packed)


def _packed(told: Told, holders: list[int]) -> _Packed:
    """The pieces as RECORDs, and the partitions that they refer to."""
    gpus, offset, partitions = told.node.gpus, told.offset, dict[str, int]()
    records = [
        RECORD.pack(
            holders[piece.holder],
            piece.begin + offset,
            piece.end + offset,
            -1 if piece.memory is None else piece.memory,
            -1 if piece.memory_most is None else piece.memory_most,
            piece.observed,
            piece.active,
            piece.held,
            piece.processes,
            gpus[piece.gpu].slot,
            -1 if piece.partition is None else partitions.setdefault(piece.partition, len(partitions)),
            -1 if piece.activity is None else piece.activity,
        )
        for piece in told.prepared.report.usage
    ]
    return records, "\n".join(partitions) if partitions else None


def _renew(connection: Connection, reports: Sequence[Told], packed: Mapping[int, _Packed]) -> None:
    """Write what is going on now on nodes of which that changed; what comes late changes nothing there."""
    rows: dict[int, tuple[int, int, bytes, str | None]] = {}
    for each in reports:
        node, report, blocks = each.node, each.prepared.report, each.prepared.blocks
        if not (report.usage or node.in_use) or not blocks or each.at <= node.usage_at:
            continue
        # What had ended before the last sample is over.
        last = max(block.times[-1] for block in blocks) - report.interval * 500
        records, partitions = packed.get(id(report), ([], None))
        going = [record for record, piece in zip(records, report.usage, strict=True) if piece.end >= last]
        node.usage_at, node.in_use = each.at, bool(going)
        rows[node.node_id] = (node.node_id, each.at, b"".join(going), partitions)
    _LATEST.execute(connection, [row for _, row in sorted(rows.items())])
