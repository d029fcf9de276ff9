"""Columns of many reports become one array a metric without losing, moving or inventing a value."""

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, RESERVED, Metric, Reason, Unit
from gpufleet_agent.wire import Samples, pack, unpack
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.columns import PRESENT, Block, check_stored, matrix, problems
from hypothesis import given
from hypothesis import strategies as st


def _integers(metric: Metric) -> st.SearchStrategy[int]:
    least = metric.lowest + RESERVED if metric.unit is Unit.CELSIUS else 0
    return st.integers(least, metric.highest) | st.sampled_from([metric.absent(reason) for reason in Reason])


def _block(samples: Samples, field: str = "samples[0]") -> Block:
    return Block(samples, field)


@st.composite
def _blocks(draw: st.DrawFn) -> Block:
    times = sorted(draw(st.sets(st.integers(0, 1 << 60), min_size=1, max_size=4)))
    gpus = [f"GPU-{number}" for number in range(draw(st.integers(1, 3)))]
    columns = {
        metric.name: draw(st.lists(_integers(metric), min_size=(n := len(times) * len(gpus)), max_size=n))
        for metric in draw(st.lists(st.sampled_from(EVERY_SAMPLE), unique=True, max_size=5))
    }
    packed = {name: pack(values, BY_NAME[name].width) for name, values in columns.items()}
    return _block(Samples(gpus=gpus, times=pack(times, 8), durations=pack([1000] * len(times), 4), columns=packed))


@given(blocks=st.lists(_blocks(), max_size=4), data=st.data())
def test_cells_are_what_a_plain_loop_gives(blocks: list[Block], data: st.DataObject) -> None:
    """Every value of every block lands in its cell, with its reason; so does each of some blocks that are taken out."""
    whole = matrix(blocks)
    assert not problems(blocks, whole)
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(blocks)))))) if blocks else []
    for values, of in ((whole, blocks), (whole.take(chosen), [blocks[number] for number in chosen])):
        assert values.stored.T.tolist() == [cell for block in of for cell in _cells(block)]
        for number, metric in enumerate(EVERY_SAMPLE):
            told = [metric.reason(stored) for stored in values.stored[number].tolist()]
            assert values.reasons()[number].tolist() == [PRESENT if each is None else each for each in told]


def _cells(block: Block) -> list[list[int]]:
    columns = [
        unpack(block.samples.columns[metric.name], metric.width)
        if metric.name in block.samples.columns
        else [metric.absent(Reason.NOT_OBSERVED)] * block.cells
        for metric in EVERY_SAMPLE
    ]
    return [list(cell) for cell in zip(*columns, strict=True)]


def _one(name: str, stored: int, field: str = "samples[0]") -> Block:
    columns = {name: pack([0, stored], BY_NAME[name].width)}
    samples = Samples(gpus=["GPU-a", "GPU-b"], times=pack([1], 8), durations=pack([1], 4), columns=columns)
    return _block(samples, field)


@pytest.mark.parametrize("metric", EVERY_SAMPLE, ids=lambda metric: metric.name)
def test_codes_without_a_reason_are_refused(metric: Metric) -> None:
    """Room for reasons to come is neither a value nor a reason today; the problem names metric and GPU of the block."""
    blocks = [_one("power", 1), _one(metric.name, metric.lowest + len(Reason), "samples[3]"), _one("power", 2)]
    found = problems(blocks, matrix(blocks))
    assert list(found) == [1]
    assert found[1].field == f"samples[3].columns.{metric.name}[1]"
    assert "GPU-b" in found[1].detail


def test_only_temperatures_may_be_negative() -> None:
    """A negative size is refused, a GPU below zero degrees is not."""
    blocks = [_one("temperature_margin", -4), _one("fb_used", -4)]
    found = problems(blocks, matrix(blocks))
    assert list(found) == [1]
    assert "negative" in found[1].detail


@pytest.mark.parametrize("stored", [-1, 1 << 15, BY_NAME["remap_failed"].lowest + RESERVED - 1, -(1 << 40)])
def test_a_state_must_fit_its_metric(stored: int) -> None:
    """Out of width, negative or without a meaning: refused."""
    with pytest.raises(Problem, match="remap_failed"):
        check_stored(BY_NAME["remap_failed"], stored, "states[0].stored")


@pytest.mark.parametrize("metric", EVERY_SAMPLE, ids=lambda metric: metric.name)
def test_the_largest_value_is_a_value(metric: Metric) -> None:
    """Nothing is lost at the upper end of a metric's width."""
    values = matrix([_one(metric.name, metric.highest)])
    assert not values.absent[EVERY_SAMPLE.index(metric)].any()
    assert values.stored[EVERY_SAMPLE.index(metric), 1] == metric.highest
