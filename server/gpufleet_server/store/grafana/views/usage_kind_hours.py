"""The view `usage_kind_hours`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import usage_kind_hours, usage_places


def _fields() -> Iterator[Field]:
    yield from fields.at(usage_kind_hours.c.hour, "The beginning of the hour (UTC)")
    yield from usage_fields.of_group(usage_places)
    yield usage_fields.place_id(usage_kind_hours)
    yield usage_fields.kind(usage_kind_hours.c.kind)
    yield from usage_fields.times(usage_kind_hours)


VIEW = view(
    "usage_kind_hours",
    "What all owners of a kind had in an hour of the GPUs of a site and model: as `usage_hours`, but few rows.",
    _fields(),
    usage_fields.placed(usage_kind_hours),
)
