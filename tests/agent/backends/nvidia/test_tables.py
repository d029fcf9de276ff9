"""The tables of sources against the catalogue and against what is known of field ids."""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet_agent.backends.nvidia import samples, states
from gpufleet_agent.backends.nvidia.fields import RENUMBERED
from gpufleet_agent.backends.nvidia.sources import Field, Headroom, Links, Rate, Source
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE

# From this branch on all drivers agree on them.
SETTLED = 590


def fields(source: Source) -> Iterator[Field]:
    """The fields behind a source."""
    if isinstance(source, Field):
        yield source
    elif isinstance(source, Rate):
        yield from fields(source.counter)
    elif isinstance(source, Headroom):
        yield from fields(source.temperature)
    elif isinstance(source, Links):
        yield from fields(source.of(0))


def test_every_metric_of_the_catalogue_has_one_row() -> None:
    """Neither a metric without a reader nor a reader without a metric."""
    assert sorted(samples.NAMES) == sorted(metric.name for metric in EVERY_SAMPLE)
    assert sorted(states.NAMES) == sorted(metric.name for metric in ON_CHANGE)
    assert sorted(samples.PARTITION_NAMES) == sorted(metric.name for metric in EVERY_SAMPLE if metric.of_partitions)


def test_no_field_id_is_used_that_driver_versions_disagree_on() -> None:
    """Ids that were swapped or renumbered within a driver branch would give a plausible wrong number."""
    rows = (*samples.ROWS, *states.ROWS)
    found = [field for row in rows for source in (*row.sources, *row.rates) for field in fields(source)]
    used = {field.number for field in found if field.since < SETTLED}
    assert used
    assert not used & RENUMBERED
