"""The view `usage_weeks`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import usage_weeks


def _fields() -> Iterator[Field]:
    yield from fields.at(usage_weeks.c.at, "The beginning of the seven days (UTC), a Thursday")
    yield usage_fields.place_id(usage_weeks)
    yield usage_fields.owner_id(usage_weeks)
    yield from usage_fields.times(usage_weeks)
    yield from usage_fields.activity(usage_weeks)


VIEW = view(
    "usage_weeks",
    "What an owner had in seven days of the GPUs of a site and model. There are no rows of a week, or all that "
    "`usage_days` has of it. "
    "Name places by `usage_places`, owners by `owners`.",
    _fields(),
    usage_weeks,
)
