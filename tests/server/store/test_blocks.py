"""Rows of blocks as arrays, and back."""

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.store.blocks import Block, cut, from_planes, from_recent, merge, to_planes
from gpufleet_server.store.tiers import SEALED
from hypothesis import given
from hypothesis import strategies as st

_NAMES = ("power", "sm_active", "nvlink_tx_bytes")
_Sample = tuple[int, int]


@st.composite
def _blocks(draw: st.DrawFn) -> Block:
    slots = np.array(sorted(draw(st.sets(st.integers(0, 5), min_size=1))))
    times = np.array(sorted(draw(st.sets(st.integers(1, 12), min_size=1)))) * 1_000_000
    shape = (len(times), len(slots))
    names = draw(st.sets(st.sampled_from(_NAMES)))
    seed = draw(st.integers(0, 1 << 32))
    chance = np.random.default_rng(seed)
    columns = {name: chance.integers(0, 30_000, shape) for name in names}
    return Block(slots, times, chance.integers(1, 20_000, shape), columns)


def _samples(blocks: list[Block]) -> dict[_Sample, tuple[int, ...]]:
    """Each sample once, that of the first block that holds it."""
    found: dict[_Sample, tuple[int, ...]] = {}
    for block in blocks:
        for n, time in enumerate(block.times.tolist()):
            for g, slot in enumerate(block.slots.tolist()):
                values = (_value(block, name, n, g) for name in _NAMES)
                if block.durations[n, g]:
                    found.setdefault((time, slot), (int(block.durations[n, g]), *values))
    return found


def _value(block: Block, name: str, n: int, g: int) -> int:
    return int(block.columns[name][n, g]) if name in block.columns else BY_NAME[name].absent(Reason.NOT_OBSERVED)


@given(blocks=st.lists(_blocks(), min_size=1, max_size=5))
def test_merge_keeps_every_sample_once(blocks: list[Block]) -> None:
    """Merged, each GPU has a sample for each time it had one, the first that was there; so in any grouping."""
    expected = _samples(blocks)
    assert _samples([merge(blocks)]) == expected
    assert _samples([merge([merge(blocks[:2]), *blocks[2:]])]) == expected


@given(block=_blocks())
def test_planes_round_trip(block: Block) -> None:
    """A block comes back from its row of planes as it was."""
    row = to_planes(block, SEALED)
    assert _samples([from_planes(row, SEALED, _NAMES)]) == _samples([block])


def test_recent_row() -> None:
    """A row of `recent` holds the wire's bytes: all GPUs of the first time first."""
    power = np.array([[10, 20], [11, 21], [12, 22]])
    row = {
        "slots": np.array([0, 3], "<i2").tobytes(),
        "times": np.array([1, 2, 3], "<i8").tobytes(),
        "durations": np.array([5, 5, 6], "<i4").tobytes(),
        "power": power.astype("<i4").tobytes(),
        "energy": None,
    }
    block = from_recent(row, ["power", "energy"])
    assert block.slots.tolist() == [0, 3]
    assert block.durations.tolist() == [[5, 5], [5, 5], [6, 6]]
    assert block.columns.keys() == {"power"}
    assert np.array_equal(block.columns["power"], power)


def test_cut_takes_what_ended_within() -> None:
    """A cut holds its end and not its beginning."""
    block = Block(np.array([0]), np.array([10, 20, 30]), np.full((3, 1), 9), {"power": np.array([[1], [2], [3]])})
    part = cut(block, 10, 30)
    assert part.times.tolist() == [20, 30]
    assert part.columns["power"].tolist() == [[2], [3]]
