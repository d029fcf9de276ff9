"""The view `states_now`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import ON_CHANGE

from gpufleet_server.store.condition import gpu_state
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.latest_states import latest_states, value
from gpufleet_server.store.schema import gpus


def _fields() -> Iterator[Field]:
    yield from fields.of_gpu()
    yield from fields.of_node()
    yield from fields.of_place("rack")
    yield fields.model()
    yield fields.simulated()
    yield fields.text("state", "As in `gpus`.", gpu_state(fields.NOW))
    for metric in ON_CHANGE:
        yield fields.metric_column(metric), fields.in_unit(metric, value(metric))


VIEW = view(
    "states_now",
    "A GPU that is not gone, with what is in force of the metrics that are sent on change; NULL where it is absent.",
    _fields(),
    fields.GPUS_OF_NODES.outerjoin(latest_states, latest_states.c.node_id == gpus.c.node_id),
    gpus.c.removed_at.is_(None),
)
