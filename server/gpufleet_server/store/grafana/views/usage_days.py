"""The view `usage_days`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import owners, usage_fleet, usage_places


def _fields() -> Iterator[Field]:
    yield from fields.at(usage_fleet.c.day, "The beginning of the day (UTC)")
    yield from usage_fields.of_group(usage_places)
    yield usage_fields.place_id(usage_fleet)
    yield usage_fields.owner_id(usage_fleet)
    yield from usage_fields.of_owner()
    yield from usage_fields.times(usage_fleet)
    yield from usage_fields.means(usage_fleet, "1.024::float8")


VIEW = view(
    "usage_days",
    "What an owner had on a day (UTC) of the GPUs of a site and model. Today's is a minute to some minutes behind, the "
    "more the larger the fleet: it is added up again and again, with one percent of the time.",
    _fields(),
    # Every row has its owner, too. Without saying so, PostgreSQL may go through all of the range for each place.
    usage_fields.placed(usage_fleet).outerjoin(owners, owners.c.owner_id == usage_fleet.c.owner_id),
)
