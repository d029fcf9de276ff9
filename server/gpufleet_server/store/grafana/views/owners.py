"""The view `owners`."""

from gpufleet_server.store.grafana import usage_fields
from gpufleet_server.store.grafana.view import view
from gpufleet_server.store.usage import owners

VIEW = view(
    "owners",
    "Whom GPU time was ever attributed to: a user, account, namespace, or none. Small: for variables.",
    usage_fields.of_owner(),
    owners,
)
