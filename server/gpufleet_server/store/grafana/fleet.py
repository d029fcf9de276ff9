"""Views of the whole fleet by site, model and use, and by state."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric, Rollup, Unit
from sqlalchemy import ColumnElement, FromClause, Table, literal_column

from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field, View, view
from gpufleet_server.store.tiers import fleet_groups, fleet_states


def over_time(name: str, help: str, table: Table, length: int) -> View:
    """A view of one of the tables of `length` µs."""
    return view(name, help, _over_time(table, length), _grouped(table))


def of_states(name: str, help: str, length: int | None = None) -> View:
    """A view of the counts of GPUs by state; with a length (µs) only of those at full ones."""
    # As the indices have it.
    where: list[ColumnElement[bool]] = [literal_column(f"fleet_states.ts % {length} = 0")] if length else []
    return view(name, help, _of_states(), _grouped(fleet_states), *where)


def _grouped(table: Table) -> FromClause:
    """A table with its groups: every row has one, and where nobody asks for it, it is not read."""
    return table.outerjoin(fleet_groups, table.c.group_id == fleet_groups.c.group_id)


def group(table: Table) -> Iterator[Field]:
    """What a row of a table is of."""
    number = "Its group's number: add up by this, and name by `fleet_groups`."
    yield Column("group_id", "bigint", number), table.c.group_id
    c = fleet_groups.c
    yield fields.text("site", f"The site; `{fields.NONE}` of nodes without one.", fields.named_group(c.site))
    yield fields.text("model", f"The model; `{fields.NONE}` where it is not known.", fields.named_group(c.model))
    yield Column("simulated", "boolean", "Whether these are simulated."), c.simulated


def _over_time(table: Table, length: int) -> Iterator[Field]:
    yield from fields.at(table.c.ts - literal_column(str(length)), "When it begins")
    yield from group(table)
    yield fields.text("use", "`free`, `held`, `active` or `unknown`.", fleet_groups.c.state)
    observed = Column("gpu_seconds", "double precision", "GPUs × time observed in that use.", SECOND)
    yield observed, fields.seconds(table.c.observed)
    for metric in EVERY_SAMPLE:
        yield from _metric(table, metric)


def _metric(table: Table, metric: Metric) -> Iterator[Field]:
    value = fields.in_unit(metric, table.c[metric.name])
    if metric.rollup not in (Rollup.MEAN, Rollup.SUM):
        words = {Rollup.MIN: "Least", Rollup.ANY: "All that came"}.get(metric.rollup, "Most")
        yield Column(metric.name, fields.type_of(metric), f"{words}: {metric.help}", metric.unit), value
        return
    over = Column(
        f"{metric.name}_seconds", "double precision", f"GPU-seconds that `{metric.name}` is known of.", SECOND
    )
    if metric.rollup is Rollup.SUM:
        yield Column(metric.name, "double precision", f"Sum: {metric.help}", metric.unit), value
    else:
        help = f"Value × GPU-seconds, for means: {metric.help}"
        unit = f"{metric.unit.symbol}·s".lstrip("·")
        yield Column(f"{metric.name}_sum", "double precision", help, unit), value / fields.number(1000)
    yield over, fields.seconds(table.c[f"{metric.name}_ms"])


def _of_states() -> Iterator[Field]:
    yield from fields.at(fleet_states.c.ts, "When they were counted")
    yield from group(fleet_states)
    yield fields.text("state", "As in `gpus`; those that are gone are not counted.", fleet_groups.c.state)
    yield Column("gpus", "integer", "How many.", Unit.COUNT), fleet_states.c.gpus
