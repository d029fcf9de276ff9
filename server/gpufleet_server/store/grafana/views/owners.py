"""The view `owners`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana import usage_fields
from gpufleet_server.store.grafana.view import Field, view
from gpufleet_server.store.usage import owners


def _fields() -> Iterator[Field]:
    yield usage_fields.owner_id(owners)
    yield from usage_fields.of_owner()


VIEW = view(
    "owners",
    "Whom GPU time was ever attributed to: a user, account, namespace, or none. Small: for variables.",
    _fields(),
    owners,
)
