"""What is in force of the metrics that are sent on change, a row a node: `states` has their past."""

from gpufleet_agent.catalogue import ON_CHANGE, RESERVED, Metric
from sqlalchemy import BigInteger, Column, ColumnElement, LargeBinary, Table, func

from gpufleet_server.store.schema import BY_NODE, gpus, metadata

# Of each slot: the stored integer, the lowest where absent, and since when, µs; two int64. A column that is NULL, or
# too short, was never told.
latest_states = Table(
    "latest_states",
    metadata,
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    *(Column(metric.name, LargeBinary()) for metric in ON_CHANGE),
    info=BY_NODE,
    postgresql_with={"fillfactor": 70, "toast_tuple_target": 8160},
)


def stored(metric: Metric) -> ColumnElement[int]:
    """What is stored of it for a row of `gpus` joined with its node's, absences in band; NULL where never told."""
    return func.gpufleet_int8(latest_states.c[metric.name], 2 * gpus.c.slot, type_=BigInteger)


def value(metric: Metric) -> ColumnElement[int]:
    """The stored integer; NULL where it is absent."""
    return func.gpufleet_above(stored(metric), metric.lowest + RESERVED - 1, type_=BigInteger)


def since(metric: Metric) -> ColumnElement[int]:
    """Since when that holds, µs."""
    return func.gpufleet_int8(latest_states.c[metric.name], 2 * gpus.c.slot + 1, type_=BigInteger)
