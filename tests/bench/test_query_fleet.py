"""The history that bench-queries gives its fleet is that of the simulator."""

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, RESERVED
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.plan import fleet_of
from gpufleet_server.store.blocks import from_planes
from gpufleet_server.store.tiers import HOUR, SEALED

from tests.bench import query_blocks
from tests.bench.query_groups import COLUMNS, Minutes

BEGIN = 1_790_000_000_000_000 // HOUR * HOUR
MINUTE = 60_000_000


def test_a_sealed_row_holds_the_samples_of_its_node_and_hour() -> None:
    """Each node of a batch has its own."""
    nodes = fleet_of(3, 2, 8, BEGIN, faults=False)
    rows = query_blocks.sealed_rows(nodes, BEGIN, BEGIN + 2 * HOUR, 60_000)
    assert [list(each) for each in rows] == [[BEGIN, BEGIN + HOUR]] * 2
    names = query_blocks.names(SEALED.table)
    row = dict(zip(names, rows[1][BEGIN + HOUR][0], strict=True))
    block = from_planes(row, SEALED, ["power", "fb_used"])
    expected = physics.samples(nodes[1], block.times, np.full(60, 60_000))
    assert block.times.tolist() == [BEGIN + HOUR + n * MINUTE for n in range(1, 61)]
    assert all((block.columns[name] == expected[name]).all() for name in block.columns)


def test_a_minute_counts_each_gpu_as_often_as_it_stands_in_the_fleet() -> None:
    """Sums over groups are those over GPUs, weighted by time and number."""
    nodes = fleet_of(3, 2, 8, BEGIN, faults=False)
    times = query_blocks.times(BEGIN, BEGIN + 3 * MINUTE, MINUTE)
    minutes = Minutes([(node.site.name, node.model.name) for node in nodes], times)
    boards, count = Boards.of(nodes), np.repeat([1, 5], 8)
    block = query_blocks.sampled(boards, times, 60_000)
    minutes.add(boards, block, count)
    rows = list(minutes.rows({group: number for number, group in enumerate(minutes.groups())}))
    of = {name: 2 + place for place, name in enumerate(COLUMNS)}
    power = block.columns["power"]
    assert (power >= BY_NAME["power"].lowest + RESERVED).all()
    for place, at in enumerate(times.tolist()):
        mine = [row for row in rows if row[1] == at]
        assert sum(row[of["observed"]] for row in mine) == 48 * 60_000
        assert sum(row[of["power"]] for row in mine) == (power[place] * count).sum() * 60_000
        assert max(row[of["gpu_temperature"]] for row in mine) == block.columns["gpu_temperature"][place].max()


def test_what_is_counted_over_long_intervals_is_as_much_more() -> None:
    """Rates stay, sums grow with the interval."""
    boards = Boards.of(fleet_of(3, 1, 8, BEGIN, faults=False))
    short, long = (query_blocks.sampled(boards, np.array([BEGIN]), each) for each in (60_000, 900_000))
    assert (long.columns["energy"] == 15 * short.columns["energy"]).all()
    assert (long.columns["power"] == short.columns["power"]).all()
