"""Workloads in a few words are the same words in SQL as on the command line."""

from typing import Any

from gpufleet_server.cli.holders import holder_text
from gpufleet_server.queries.holder import FIELDS
from gpufleet_server.store.engine import Store
from gpufleet_server.store.holder_names import holder_name
from gpufleet_server.store.usage import holders, owners
from sqlalchemy import insert, select

_OWNERS = ("", "alice", "1000")
_WORDS: tuple[dict[str, Any], ...] = (
    {"kind": "slurm", "job": "4711", "step": "0"},
    {"kind": "slurm", "sluid": "sK1"},
    {"kind": "slurm"},
    {"kind": "kubernetes", "pod": "train-0", "namespace": "ml"},
    {"kind": "kubernetes", "pod_uid": "0000-1"},
    {"kind": "kubernetes", "namespace": "ml"},
    {"kind": "container", "container": "0123456789abcdef", "runtime": "docker"},
    {"kind": "container", "container": "0123456789abcdef"},
    {"kind": "container", "container_name": "jupyter", "container": "0123456789abcdef"},
    {"kind": "container"},
    {"kind": "unit", "unit": "jupyter.service"},
    {"kind": "nobody"},
    {"kind": "unknown"},
)


def test_the_words_are_those_of_the_command_line(store: Store) -> None:
    """For every kind, with and without what may be missing, with a user, a number and none; never the command line."""
    cases = [{"user": user, **words} for user in _OWNERS for words in _WORDS]
    with store.writing() as connection:
        for number, case in enumerate(cases):
            rest = dict.fromkeys(("account", "slurm_partition", "namespace"), str(number))
            owner = {"owner_id": number, "kind": case["kind"], "user": case["user"], **rest}
            connection.execute(insert(owners).values(owner))
            row = {name: case.get(name) for name in FIELDS} | {"command": "python --secret"}
            row |= {"holder_id": number, "digest": str(number), "owner_id": number, "absent": {}, "first_seen": 0}
            connection.execute(insert(holders).values(row | {"last_seen": 0, "user": case["user"] or None}))
        query = select(holder_name()).join_from(holders, owners, owners.c.owner_id == holders.c.owner_id)
        found = connection.execute(query.order_by(holders.c.holder_id)).scalars().all()
    items = [{name: case.get(name) for name in FIELDS} | {"user": case["user"] or None} for case in cases]
    assert found == [holder_text(item) for item in items]
