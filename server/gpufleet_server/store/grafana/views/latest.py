"""The view `latest`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import EVERY_SAMPLE, Use
from sqlalchemy import BigInteger, Integer, case, func, literal, literal_column

from gpufleet_server.store.condition import gpu_state
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field, view
from gpufleet_server.store.newest import stored_value
from gpufleet_server.store.schema import gpus
from gpufleet_server.store.tiers import latest

_TS = func.gpufleet_int8(latest.c.ts, gpus.c.slot, type_=BigInteger)
# 0 is never: eight bytes are compared sooner than they are put together.
_SAMPLED = func.substr(latest.c.ts, 8 * gpus.c.slot + 1, 8) != literal_column(r"'\x0000000000000000'::bytea")
_DURATION = func.gpufleet_int4(latest.c.durations, gpus.c.slot, type_=Integer)
_USE = case(
    (func.length(latest.c.use) > gpus.c.slot, func.get_byte(latest.c.use, gpus.c.slot)), else_=Use.UNKNOWN.value
)
_WORD = case({use.value: literal(use.word) for use in Use}, value=_USE, else_=literal(Use.UNKNOWN.word))


def _fields() -> Iterator[Field]:
    yield from fields.at(_TS, "When the sample ended")
    yield Column("duration", "double precision", "Its length.", SECOND), fields.seconds(_DURATION)
    yield from fields.of_gpu()
    yield from fields.of_node()
    yield from fields.of_place("rack")
    yield fields.model()
    yield fields.simulated()
    yield fields.text("state", "As in `gpus`.", gpu_state(fields.NOW))
    yield fields.text("use", "`free`, `held`, `active` or `unknown`.", _WORD)
    for metric in EVERY_SAMPLE:
        yield fields.metric_column(metric), fields.in_unit(metric, stored_value(metric.name))


VIEW = view(
    "latest",
    "A GPU's newest sample, however old that is; GPUs that were never sampled have none.",
    _fields(),
    fields.GPUS_OF_NODES.join(latest, latest.c.node_id == gpus.c.node_id),
    _SAMPLED,
)
