"""The view `server_minutes`."""

from collections.abc import Iterator

from gpufleet_server.store.grafana.server_fields import of_servers
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.server_minutes import server_minutes

_COVERED = "How long it is that the row tells of: less than a minute where it began in it, more where it was held up."


def _fields() -> Iterator[Field]:
    yield from of_servers(server_minutes, "The beginning of the minute", _COVERED, "at its end")
    yield Column("elected", "boolean", "Whether this server did the upkeep at its end."), server_minutes.c.elected


VIEW = view(
    "server_minutes",
    "What a server did in a minute. Kept as long as minutes of the fleet are.",
    _fields(),
    server_minutes,
)
