"""Every metric once: name, unit, kind, cadence, storage, help. Nowhere else are these typed again."""

from gpufleet_agent.catalogue.entries import METRICS
from gpufleet_agent.catalogue.metric import RESERVED, Cadence, Kind, Metric, Reason, Rollup, Unit
from gpufleet_agent.catalogue.use import ACTIVE_FROM, ACTIVITY, HOLDING, IDLE_MEMORY, Use

BY_NAME: dict[str, Metric] = {metric.name: metric for metric in METRICS}
EVERY_SAMPLE: tuple[Metric, ...] = tuple(m for m in METRICS if m.cadence is Cadence.EVERY_SAMPLE)
ON_CHANGE: tuple[Metric, ...] = tuple(m for m in METRICS if m.cadence is Cadence.ON_CHANGE)

__all__ = [
    "ACTIVE_FROM",
    "ACTIVITY",
    "BY_NAME",
    "EVERY_SAMPLE",
    "HOLDING",
    "IDLE_MEMORY",
    "METRICS",
    "ON_CHANGE",
    "RESERVED",
    "Cadence",
    "Kind",
    "Metric",
    "Reason",
    "Rollup",
    "Unit",
    "Use",
]
