"""Columns of the worst workloads, by the hour and by the day."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import FromClause, Table

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Column, Field
from gpufleet_server.store.usage import holders, owners
from gpufleet_server.store.usage_waste import OF_FLEET, OF_SITE

WHICH = (
    f"Of the fleet the {OF_FLEET} that held most are there, real and simulated nodes apart, and of each site {OF_SITE} "
    "at the least: no sum of these is one of all. The newest is a minute to some minutes behind, the more the larger "
    "the fleet. Add up by `holder_id` and `holder` first, then by what else is to be shown: that is the quickest."
)


def of_table(table: Table, what: str) -> Iterator[Field]:
    """All columns; `what` says which time they are of."""
    yield from fields.at(table.c.at, f"The beginning of the {what} (UTC)")
    yield from usage_fields.of_group(table)
    yield Column("holder_id", "bigint", "The workload's number."), table.c.holder_id
    yield fields.text("holder", "The workload in a few words, such as `alice job 4711` or `ml/train-0`.", table.c.name)
    yield from usage_fields.of_owner()
    yield from usage_fields.of_holder()
    yield Column("gpus", "integer", "On how many GPUs of that site and model it was.", Unit.COUNT), table.c.gpus
    yield Column("nodes", "integer", "On how many nodes.", Unit.COUNT), table.c.nodes
    yield from usage_fields.times(table)


def tables(table: Table) -> FromClause:
    """What these are of. PostgreSQL leaves `holders` out where no column of theirs is asked for."""
    joined = table.join(owners, owners.c.owner_id == table.c.owner_id)
    return joined.outerjoin(holders, holders.c.holder_id == table.c.holder_id)
