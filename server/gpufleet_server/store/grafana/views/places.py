"""The view `places`."""

from sqlalchemy import select

from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Column, View, cells, columns, compiled
from gpufleet_server.store.tiers import fleet_groups

_FIELDS = (
    fields.text("site", "A site.", fields.named_group(fleet_groups.c.site)),
    fields.text("model", "A model of GPU.", fields.named_group(fleet_groups.c.model)),
    (Column("simulated", "boolean", "Whether these are simulated."), fleet_groups.c.simulated),
)

VIEW = View(
    "places",
    "A site and model that there are, or were, GPUs of: few rows, for variables.",
    columns(_FIELDS),
    compiled(select(*cells(_FIELDS)).select_from(fleet_groups).distinct()),
)
