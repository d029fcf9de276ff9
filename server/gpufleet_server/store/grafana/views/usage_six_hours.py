"""The view `usage_six_hours`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import usage_six_hours


def _fields() -> Iterator[Field]:
    yield from fields.at(usage_six_hours.c.at, "The beginning of the six hours, of which a day (UTC) has four")
    yield usage_fields.place_id(usage_six_hours)
    yield usage_fields.owner_id(usage_six_hours)
    yield from usage_fields.times(usage_six_hours)
    yield from usage_fields.activity(usage_six_hours)


VIEW = view(
    "usage_six_hours",
    "What an owner had in six hours of the GPUs of a site and model. There are no rows of six hours, or all that "
    "`usage_hours` has of them. "
    "Name places by `usage_places`, owners by `owners`.",
    _fields(),
    usage_six_hours,
)
