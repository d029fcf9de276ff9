"""The view `fleet_groups`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.fleet import group
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.tiers import fleet_groups


def _fields() -> Iterator[Field]:
    yield from group(fleet_groups)
    yield fields.text("state", "Of rollups a use, of counts a state of GPUs.", fleet_groups.c.state)


VIEW = view(
    "fleet_groups",
    "What GPUs are counted and added up by: few rows, by whose number what is many is added up before it is named.",
    _fields(),
    fleet_groups,
)
