"""The view `states`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import ON_CHANGE, Reason
from sqlalchemy import Double, case, cast, literal, select

from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.schema import gpus, nodes, states

_before = states.alias("before")
_STORED_BEFORE = (
    select(_before.c.value)
    .where(_before.c.gpu_id == states.c.gpu_id, _before.c.metric == states.c.metric, _before.c.ts < states.c.ts)
    .where(_before.c.value.is_not(None))
    .order_by(_before.c.ts.desc())
    .limit(1)
    .correlate(states)
    .scalar_subquery()
)
_VALUE = case(
    *(
        (states.c.metric == metric.name, fields.in_unit(metric, states.c.value))
        for metric in ON_CHANGE
        if metric.step != 1
    ),
    else_=cast(states.c.value, Double),
)
_REASON = case({reason.value: literal(reason.word) for reason in Reason}, value=states.c.reason)


def _fields() -> Iterator[Field]:
    yield from fields.at(states.c.ts, "Since when it holds")
    yield from fields.of_gpu()
    yield from fields.of_node()
    yield from fields.of_place("rack")
    yield fields.model()
    yield fields.simulated()
    yield fields.text("metric", "Which metric.", states.c.metric)
    yield Column("value", "double precision", "Its value in the metric's unit; NULL where it is absent."), _VALUE
    yield fields.text("reason", "Why it is absent.", _REASON)
    stored = "The whole number that is stored; `stored > 0` with a metric of health and a time uses an index."
    yield Column("stored", "bigint", stored), states.c.value
    yield Column("stored_before", "bigint", "The value before it; NULL where it is the first."), _STORED_BEFORE


VIEW = view(
    "states",
    "A value of a metric that is sent on change, from a time on; and since when a metric of samples is absent.",
    _fields(),
    # Every state has its GPU and node; where nobody asks for them, they are not read.
    states.outerjoin(gpus, gpus.c.gpu_id == states.c.gpu_id).outerjoin(nodes, nodes.c.node_id == gpus.c.node_id),
)
