"""The view `waste_days`."""

from gpufleet_server.store.grafana import waste_fields
from gpufleet_server.store.grafana.view import view
from gpufleet_server.store.usage import usage_waste_days

VIEW = view(
    "waste_days",
    f"A workload that held GPUs for long in a day without running anything. {waste_fields.WHICH}",
    waste_fields.of_table(usage_waste_days, "day"),
    waste_fields.tables(usage_waste_days),
)
