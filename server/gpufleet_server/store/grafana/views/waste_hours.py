"""The view `waste_hours`."""

from gpufleet_server.store.grafana import waste_fields
from gpufleet_server.store.grafana.view import view
from gpufleet_server.store.usage import usage_waste_hours

VIEW = view(
    "waste_hours",
    f"A workload that held GPUs for long in a hour without running anything. {waste_fields.WHICH}",
    waste_fields.of_table(usage_waste_hours, "hour"),
    waste_fields.tables(usage_waste_hours),
)
