"""Columns that several views have, each with what it is of the tables."""

from collections.abc import Iterator, Sequence
from typing import Any

from gpufleet_agent.catalogue import Metric
from sqlalchemy import BigInteger, ColumnElement, Double, FromClause, cast, func, literal, literal_column

from gpufleet_server.store.grafana.view import MICROSECOND, Column, Field
from gpufleet_server.store.schema import gpus, nodes

# What stands for no site, no model …: Grafana's variables can't choose NULL.
NONE = "(none)"
# A select of its own is evaluated once, not for every row: that was a third of the time of 100,000 GPUs' states.
NOW: ColumnElement[int] = literal_column("(SELECT (extract(epoch FROM now()) * 1000000)::bigint)", BigInteger())

GPUS_OF_NODES: FromClause = gpus.join(nodes, nodes.c.node_id == gpus.c.node_id)


def named(text: ColumnElement[Any]) -> ColumnElement[Any]:
    """A text that is never NULL."""
    return func.coalesce(text, literal(NONE))


def named_group(text: ColumnElement[Any]) -> ColumnElement[Any]:
    """The same of a table that has '' for nothing."""
    return func.coalesce(func.nullif(text, ""), literal(NONE))


def moment(micros: ColumnElement[int]) -> ColumnElement[Any]:
    """µs since the epoch as a time with its zone."""
    return func.to_timestamp(cast(micros, Double) / number(1_000_000))


def seconds(millis: ColumnElement[int]) -> ColumnElement[Any]:
    """Seconds from ms."""
    return cast(millis, Double) / number(1000)


def in_unit(metric: Metric, stored: ColumnElement[Any]) -> ColumnElement[Any]:
    """A metric in its unit from the stored integer."""
    up, down = metric.step.numerator, metric.step.denominator
    if down == 1:
        return stored if up == 1 else stored * literal_column(str(up))
    exact = cast(stored, Double)
    return (exact if up == 1 else exact * number(up)) / number(down)


def number(value: int) -> ColumnElement[float]:
    """A number by which others are divided, or multiplied."""
    return literal_column(str(value), Double())


def type_of(metric: Metric) -> str:
    """The type of a metric's values: whole numbers stay whole."""
    return "bigint" if metric.step.denominator == 1 else "double precision"


def metric_column(metric: Metric) -> Column:
    """The column of a metric's values."""
    return Column(metric.name, type_of(metric), metric.help, metric.unit)


def at(micros: ColumnElement[int], what: str) -> Sequence[Field]:
    """`at` and `ts` of a time; `what` says which it is."""
    return (
        (Column("at", "bigint", f"{what}, since the epoch: filter by this.", MICROSECOND), micros),
        (Column("ts", "timestamp with time zone", f"{what}: show this."), moment(micros)),
    )


def micros(name: str, help: str, value: ColumnElement[Any]) -> Field:
    """A time as an index knows it."""
    return Column(name, "bigint", help, MICROSECOND), value


def time(name: str, help: str, value: ColumnElement[Any]) -> Field:
    """A time to be shown."""
    return Column(name, "timestamp with time zone", help), moment(value)


def text(name: str, help: str, value: ColumnElement[Any]) -> Field:
    """A text."""
    return Column(name, "text", help), value


def of_node() -> Iterator[Field]:
    """How a node is shown, and what tells it from others."""
    yield text("node", "The node's hostname, to be shown.", nodes.c.hostname)
    yield text("node_uuid", "What tells the node from others.", nodes.c.uuid)


def of_place(*names: str) -> Iterator[Field]:
    """Where a node is: site, and some of room and rack."""
    for name in ("site", *names):
        yield text(name, f"The node's {name}; `{NONE}` where it has none.", named(nodes.c[name]))


def of_gpu() -> Iterator[Field]:
    """What tells a GPU from others, and where it is in its node."""
    yield (
        Column("gpu_id", "bigint", "Its number in this store: another one where a GPU moved to another node."),
        gpus.c.gpu_id,
    )
    yield text("gpu", "Its UUID.", gpus.c.uuid)
    yield Column("position", "integer", "The driver's index, from 0."), gpus.c.position


def model() -> Field:
    """A GPU's model."""
    return text("model", f"Its model; `{NONE}` where it is not known.", named(gpus.c.model))


def simulated() -> Field:
    """Whether a node is one of the simulator's."""
    return Column("simulated", "boolean", "Whether it is of a simulated node."), nodes.c.simulated
