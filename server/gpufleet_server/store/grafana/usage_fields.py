"""Columns that the views of usage have in common."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import ColumnElement, Double, FromClause, Table, cast, func, literal_column

from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field
from gpufleet_server.store.usage import holders, owners, usage_places

# A workload's own words, beside its owner's.
_OF_HOLDER = {
    "cluster": "The Slurm cluster of its job.",
    "job": "Its Slurm job.",
    "step": "Its step of that job.",
    "pod": "Its pod.",
    "container_name": "Its container's name.",
    "unit": "Its systemd unit.",
}


def owner_id(table: Table) -> Field:
    """The number of a row's owner: what to add up by before it is named."""
    return Column("owner_id", "bigint", "Its owner's number: add up by this, and name by `owners`."), table.c.owner_id


def place_id(table: Table) -> Field:
    """The number of a row's site and model."""
    return Column("place_id", "integer", "Its place's number: choose by this, and name by `usage_places`."), (
        table.c.place_id
    )


def placed(table: Table) -> FromClause:
    """A table with its places: every row has one, and where nobody asks for it, it is not read."""
    return table.outerjoin(usage_places, usage_places.c.place_id == table.c.place_id)


def kind(of: ColumnElement[str]) -> Field:
    """The kind of an owner."""
    kinds = "`slurm`, `kubernetes`, `container`, `unit`; `nobody`: no process was listed; `unknown`: it can't be told."
    return fields.text("kind", kinds, of)


def of_owner() -> Iterator[Field]:
    """What an owner is known by. Not `user`, which is the role that asks in PostgreSQL's SQL."""
    yield kind(owners.c.kind)
    user = f"A number where no name is known, `{fields.NONE}` where there is no user."
    yield fields.text("user_name", user, fields.named_group(owners.c.user))
    for name, what in (
        ("account", "Slurm account"),
        ("slurm_partition", "Slurm partition"),
        ("namespace", "namespace"),
    ):
        yield fields.text(name, f"Its {what}; `{fields.NONE}` without.", fields.named_group(owners.c[name]))


def of_group(table: Table) -> Iterator[Field]:
    """The place that a row of `usage_fleet` and the like is of."""
    yield fields.text("site", f"Where; `{fields.NONE}` where nodes have no site.", fields.named_group(table.c.site))
    model = f"Of which GPUs; `{fields.NONE}` where it is not known."
    yield fields.text("model", model, fields.named_group(table.c.model))
    yield Column("simulated", "boolean", "Whether it is of simulated nodes."), table.c.simulated


def of_holder() -> Iterator[Field]:
    """A workload's words, but for its short name and its owner's."""
    for name, help in _OF_HOLDER.items():
        yield fields.text(name, f"{help} NULL where it has none.", func.nullif(holders.c[name], ""))


def times(table: Table) -> Iterator[Field]:
    """GPU time of a row, in GPU-seconds."""
    observed = "GPU time in samples, whatever the GPUs did: of a GPU that several had, each had all of it."
    yield _seconds("observed_seconds", observed, table, "observed")
    yield _seconds("active_seconds", "GPU time in which it ran something.", table, "active")
    yield _seconds("held_seconds", "GPU time in which it ran nothing and kept others away.", table, "held")


def means(table: Table, bytes_a_unit: str) -> Iterator[Field]:
    """Memory and activity as sums and what they are over; `bytes_a_unit` is SQL for what its memory_sum is in."""
    memory = cast(table.c.memory_sum, Double) * literal_column(bytes_a_unit)
    yield Column("memory_sum", "double precision", "Memory that it had × time.", "B·s"), memory
    yield _seconds("memory_seconds", "The time over which that is.", table, "memory_ms")
    most = "The most memory it had on one GPU; NULL where it is not known."
    yield Column("memory_most", "bigint", most, Unit.BYTE), func.nullif(table.c.memory_most, -1)
    yield from activity(table)


def activity(table: Table) -> Iterator[Field]:
    """Activity as a sum and what it is over."""
    share = "Share of the GPU's time in which it had kernels running, 0 to 1, × time."
    activity = cast(table.c.activity_sum, Double) * literal_column("1e-7::float8")
    yield Column("activity_sum", "double precision", share, SECOND), activity
    yield _seconds("activity_seconds", "The time over which that is.", table, "activity_ms")


def _seconds(name: str, help: str, table: Table, column: str) -> Field:
    return Column(name, "double precision", help, SECOND), fields.seconds(table.c[column])
