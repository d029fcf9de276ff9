"""Rows of `holders` and `owners`: each workload once, also where it runs on many nodes and they report at once."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from gpufleet_agent import wire
from sqlalchemy import ColumnElement, Connection, Insert, case, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.ingest.memory import Holders, Memory, Node
from gpufleet_server.store.bulk import insert_new
from gpufleet_server.store.usage import NAMES, OWNER, holders, owners

# So long what a node named is remembered, µs: one that it names again later may be gone from the store by then.
_FRESH = 86_400 * SECOND
# Of one node; beyond that it begins anew.
_MOST = 4096

_encoded = msgspec.msgpack.Encoder().encode
_UPDATED = (*NAMES, "cluster", "uid")


@dataclasses.dataclass(slots=True)
class Named:
    """The holders that a node's report names: made at `at`, taken at `received_at` (µs)."""

    node: Node
    holders: list[wire.Holder]
    at: int
    received_at: int
    encoded: bytes = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.encoded = _encoded(self.holders)

    @property
    def known(self) -> bool:
        """Whether the last report of its node named the same, as nearly all do."""
        return self.node.holders.encoded == self.encoded and self.fresh

    @property
    def fresh(self) -> bool:
        """Whether what is remembered can't be gone by now."""
        return self.received_at - self.node.holders.at < _FRESH


def ids(connection: Connection, memory: Memory, named: Sequence[Named]) -> list[list[int]]:
    """The holder_id of each holder of each report; those that are new are added.

    Nodes whose transaction is rolled back must be forgotten, and the memory's owners too.
    """
    # First: what is looked up for one report may replace what is remembered for another one of the same node.
    known = [each.node.holders.ids if each.known else None for each in named]
    lacking = [each for each, found in zip(named, known, strict=True) if found is None]
    if lacking:
        _look_up(connection, memory, lacking)
    return [_one_by_one(each) if found is None else found for each, found in zip(named, known, strict=True)]


def _one_by_one(each: Named) -> list[int]:
    return [each.node.holders.by_encoded[_encoded(holder)] for holder in each.holders]


def _look_up(connection: Connection, memory: Memory, lacking: Sequence[Named]) -> None:
    """Have the ids of these reports' holders in the memory of their nodes."""
    for each in lacking:
        if not each.fresh or len(each.node.holders.by_encoded) > _MOST:
            each.node.holders = Holders(at=each.received_at)
    new: list[dict[bytes, str]] = []
    wanted: dict[str, tuple[Named, wire.Holder]] = {}
    for each in lacking:
        by_encoded = {_encoded(one): one for one in each.holders}
        for encoded in by_encoded.keys() & each.node.holders.by_encoded.keys():
            del by_encoded[encoded]
        new.append({encoded: digest(each.node, one) for encoded, one in by_encoded.items()})
        wanted |= {new[-1][encoded]: (each, one) for encoded, one in by_encoded.items()}
    found = _stored(connection, memory, wanted) if wanted else {}
    for each, digests in zip(lacking, new, strict=True):
        remembered = each.node.holders
        remembered.by_encoded |= {encoded: found[one] for encoded, one in digests.items()}
        remembered.encoded, remembered.ids = each.encoded, _one_by_one(each)


def digest(node: Node, holder: wire.Holder) -> str:
    """What tells a holder from all others: pods by their UID, Slurm's steps by their cluster, the rest by the node."""
    scope = {"slurm": f"cluster {node.cluster}", "kubernetes": ""}.get(holder.kind, f"node {node.uuid}")
    return hashlib.sha256(repr((scope, *holder.identity)).encode()).hexdigest()


def _stored(connection: Connection, memory: Memory, wanted: dict[str, tuple[Named, wire.Holder]]) -> dict[str, int]:
    owned = {key: _owner(holder) for key, (_, holder) in wanted.items()}
    _find_owners(connection, memory, set(owned.values()))
    # In one order for all servers: two that wait for each other's rows would wait for ever.
    rows = [_row(key, *wanted[key]) | {"owner_id": memory.owners[owned[key]]} for key in sorted(wanted)]
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return {row.digest: row.holder_id for row in connection.execute(_upsert(dialect.insert(holders)), rows)}


def _row(key: str, named: Named, holder: wire.Holder) -> dict[str, Any]:
    # No database takes a NUL.
    told = {name: getattr(holder, name) for name in NAMES}
    row = {name: text and text.replace("\0", "\ufffd") for name, text in told.items()}
    row |= {"kind": holder.kind, "uid": holder.uid}
    cluster = named.node.cluster if holder.kind == "slurm" else None
    seen = {"first_seen": named.at, "last_seen": named.at}
    return row | seen | {"digest": key, "cluster": cluster, "absent": dict(holder.absent)}


def _upsert(insert: Any) -> Insert:
    """What was known of it stays known; what was not is filled in."""
    new, old = insert.excluded, holders.c
    forgotten: ColumnElement[bool] = or_(*(old[name].is_not(None) & new[name].is_(None) for name in OWNER[1:]))
    changes: dict[str, Any] = {name: func.coalesce(new[name], old[name]) for name in _UPDATED}
    changes["owner_id"] = case((forgotten, old.owner_id), else_=new.owner_id)
    changes["absent"] = new.absent
    changes["first_seen"] = case((new.first_seen < old.first_seen, new.first_seen), else_=old.first_seen)
    changes["last_seen"] = case((new.last_seen > old.last_seen, new.last_seen), else_=old.last_seen)
    upsert: Insert = insert.on_conflict_do_update(index_elements=["digest"], set_=changes)
    return upsert.returning(holders.c.holder_id, holders.c.digest)


def _owner(holder: wire.Holder) -> tuple[str, ...]:
    """What is the same for all of one user's, account's or namespace's workloads; a number where it has no name.

    The user ids in a pod are the pod's own and say nothing outside of it.
    """
    number = str(holder.uid) if holder.uid is not None and holder.kind != "kubernetes" else ""
    rest = (getattr(holder, name) or "" for name in OWNER[2:])
    return tuple(word.replace("\0", "\ufffd") for word in (holder.kind, holder.user or number, *rest))


def _find_owners(connection: Connection, memory: Memory, wanted: Iterable[tuple[str, ...]]) -> None:
    lacking = sorted(each for each in wanted if each not in memory.owners)
    if lacking:
        insert_new(connection, owners, [dict(zip(OWNER, each, strict=True)) for each in lacking])
        key = [owners.c[name] for name in OWNER]
        for row in connection.execute(select(owners.c.owner_id, *key).where(tuple_(*key).in_(lacking))):
            memory.owners[tuple(row[1:])] = row.owner_id
