"""The view `usage_places`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import usage_places


def _fields() -> Iterator[Field]:
    yield usage_fields.place_id(usage_places)
    yield from usage_fields.of_group(usage_places)


VIEW = view(
    "usage_places",
    "A site and model that usage or an event was ever told of: few rows, by whose number what is many is chosen.",
    _fields(),
    usage_places,
)
