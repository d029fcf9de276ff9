"""What is rolled up into a grid, bucket by bucket."""

from collections.abc import Sequence
from typing import NamedTuple

from gpufleet_agent.catalogue import Metric
from gpufleet_server.queries import rollup
from gpufleet_server.queries.buckets import Grid
from gpufleet_server.queries.rollup import Points


class Bucket(NamedTuple):
    """A bucket that holds samples."""

    observed: int
    newest: int
    values: dict[str, float | int | None]


def of_buckets(points: Points, grid: Grid, metrics: Sequence[Metric]) -> dict[int, Bucket]:
    """The buckets that hold samples, by their place in the grid; the others must be empty."""
    rolled, found = rollup.of_grid(points, grid, metrics), {}
    for number, newest in enumerate(rolled.newest):
        values = {name: column[number] for name, column in rolled.values.items()}
        if newest is not None:
            found[number] = Bucket(rolled.observed[number], newest, values)
        else:
            assert not rolled.observed[number]
            assert set(values.values()) <= {None}
    return found
