"""Workloads that hold GPUs: what is known of them, and which hold what now."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, func, select

from gpufleet_server.store.schema import nodes
from gpufleet_server.store.usage import NAMES, RECORDS, holders, latest_usage, owners

FIELDS = ("kind", "cluster", "uid", *NAMES)
_SHOWN = func.nullif(owners.c.user, "").label("shown_user")
# What a node's agent says of itself where it tells.
_TELLS = ("names", "numbers")
# Columns of `holders` joined with `owners`.
COLUMNS = (holders.c.holder_id, _SHOWN, holders.c.absent, *(holders.c[name] for name in FIELDS))


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """A workload. `fields` has all of FIELDS; `user` is a number where no name is known; `absent`: why one is None."""

    holder_id: int
    fields: dict[str, Any]
    absent: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Who holds a GPU, or a partition of it, and what of it in the newest report. Bytes; `activity` 0 to 1; µs."""

    holder: Holder
    partition: str | None
    begin: int
    memory: int | None
    activity: float | None
    processes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Present:
    """Who holds a GPU at `at` (µs)."""

    at: int
    holdings: list[Holding]


def of_row(row: Row[Any]) -> Holder:
    """The holder in a row of COLUMNS."""
    fields = {name: getattr(row, name) for name in FIELDS} | {"user": row.shown_user}
    absent = {name: why for name, why in (row.absent or {}).items() if fields.get(name) is None}
    return Holder(row.holder_id, fields, absent)


def of_ids(connection: Connection, ids: Iterable[int]) -> dict[int, Holder]:
    """These holders by their ids."""
    joined = holders.join(owners, owners.c.owner_id == holders.c.owner_id)
    query = select(*COLUMNS).select_from(joined).where(holders.c.holder_id.in_(sorted(ids)))
    return {row.holder_id: of_row(row) for row in connection.execute(query)}


def present(connection: Connection, node_ids: Iterable[int]) -> dict[int, dict[int, Present]]:
    """Who holds what on nodes whose agents tell: node_id → slot → holdings; slots that nobody holds are left out.

    A node whose agent does not tell is left out; one on which nobody holds anything has no slots.
    """
    told = nodes.c.facts["attribution"].as_string().label("told")
    newest = (latest_usage.c[name] for name in ("at", "pieces", "partitions"))
    of_node = latest_usage.c.node_id == nodes.c.node_id
    query = select(nodes.c.node_id, told, *newest).select_from(nodes.outerjoin(latest_usage, of_node))
    rows = [
        row
        for row in connection.execute(query.where(nodes.c.node_id.in_(sorted(set(node_ids)))))
        if row.told in _TELLS or (row.told is None and row.pieces is not None)
    ]
    records = {row.node_id: np.frombuffer(row.pieces or b"", RECORDS) for row in rows}
    known = of_ids(connection, {int(each) for of_node in records.values() for each in of_node["holder"]})
    return {row.node_id: _by_slot(row, records[row.node_id], known) for row in rows}


def _by_slot(row: Row[Any], records: Any, known: Mapping[int, Holder]) -> dict[int, Present]:
    partitions: Sequence[str] = row.partitions.split("\n") if row.partitions else ()
    found: dict[int, Present] = {}
    for record in records:
        slot, holder = int(record["slot"]), known.get(int(record["holder"]))
        if holder is not None:
            of_gpu = found.setdefault(slot, Present(row.at, []))
            of_gpu.holdings.append(_holding(record, holder, partitions))
    return found


def _holding(record: Any, holder: Holder, partitions: Sequence[str]) -> Holding:
    partition, memory, activity = int(record["partition"]), int(record["memory"]), int(record["activity"])
    return Holding(
        holder=holder,
        partition=None if partition < 0 else partitions[partition],
        begin=int(record["begin"]),
        memory=None if memory < 0 else memory,
        activity=None if activity < 0 else activity / 10_000,
        processes=int(record["processes"]),
    )
