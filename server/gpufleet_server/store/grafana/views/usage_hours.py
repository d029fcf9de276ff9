"""The view `usage_hours`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import owners, usage_fleet_hours, usage_places


def _fields() -> Iterator[Field]:
    yield from fields.at(usage_fleet_hours.c.hour, "The beginning of the hour (UTC)")
    yield from usage_fields.of_group(usage_places)
    yield usage_fields.place_id(usage_fleet_hours)
    yield usage_fields.owner_id(usage_fleet_hours)
    yield from usage_fields.of_owner()
    yield from usage_fields.times(usage_fleet_hours)
    yield from usage_fields.means(usage_fleet_hours, "1048576::float8")


VIEW = view(
    "usage_hours",
    "What an owner had in an hour of the GPUs of a site and model. Of all that reports told, cut at the hour; of the "
    "last one to two minutes not everything is there yet. Kept as long as minutes of the fleet are.",
    _fields(),
    # Every row has its owner, too. Without saying so, PostgreSQL may go through all of the range for each place.
    usage_fields.placed(usage_fleet_hours).outerjoin(owners, owners.c.owner_id == usage_fleet_hours.c.owner_id),
)
