"""Which part of a GPU's time a partition stands for."""

from gpufleet_agent.usage.parts import parts
from gpufleet_agent.wire import Gpu, Partition
from hypothesis import given
from hypothesis import strategies as st


def gpu(*shares: float | None) -> Gpu:
    """A GPU with partitions of these shares."""
    partitions = [Partition(uuid=f"MIG-{n}", share=share) for n, share in enumerate(shares)]
    return Gpu(uuid="GPU-0", vendor="v", index=0, partitions=partitions)


def test_a_gpu_without_partitions_has_all_its_time() -> None:
    """From the beginning to the end."""
    assert parts([gpu()]) == {("GPU-0", None): (0.0, 1.0, ("GPU-0", None))}


def test_a_partition_has_its_share() -> None:
    """What is not given out is nobody's; without a share that is known all are alike."""
    assert list(parts([gpu(0.5, 0.25)])) == [("GPU-0", "MIG-0"), ("GPU-0", "MIG-1")]
    assert [part[:2] for part in parts([gpu(0.5, 0.25)]).values()] == [(0.0, 0.5), (0.5, 0.75)]
    assert [part[:2] for part in parts([gpu(0.25, None)]).values()] == [(0.0, 0.5), (0.5, 1.0)]


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=9))
def test_no_parts_are_more_than_their_gpu(shares: list[float | None]) -> None:
    """They follow upon each other within the whole, whatever the driver tells."""
    found = [*parts([gpu(*shares)]).values()]
    ends = [0.0, *(part.end for part in found)]
    assert [part.begin for part in found] == ends[:-1]
    assert ends == sorted(ends)
    assert ends[-1] <= 1.0
