"""The view `server_hours`."""

from gpufleet_server.store.grafana.server_fields import of_servers
from gpufleet_server.store.grafana.view import view
from gpufleet_server.store.server_minutes import server_hours

VIEW = view(
    "server_hours",
    "What a server did in an hour: of its minutes all together, the mean, or the most. Kept as long as hours of the"
    " fleet are.",
    of_servers(server_hours, "The beginning of the hour", "How long it is that its minutes tell of.", "at most"),
    server_hours,
)
