"""The view `usage_kind_days`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import usage_kind_days, usage_places


def _fields() -> Iterator[Field]:
    yield from fields.at(usage_kind_days.c.day, "The beginning of the day (UTC)")
    yield from usage_fields.of_group(usage_places)
    yield usage_fields.place_id(usage_kind_days)
    yield usage_fields.kind(usage_kind_days.c.kind)
    yield from usage_fields.times(usage_kind_days)


VIEW = view(
    "usage_kind_days",
    "What all owners of a kind had on a day (UTC) of the GPUs of a site and model: as `usage_days`, but few rows.",
    _fields(),
    usage_fields.placed(usage_kind_days),
)
