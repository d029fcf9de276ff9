"""What two sources tell of the same XIDs becomes each of them once, whatever the order."""

from __future__ import annotations

from collections import Counter

from gpufleet_agent.runtime.pairing import WINDOW, Pairing
from gpufleet_agent.wire import XID_CONFIRMED, Event
from hypothesis import given
from hypothesis import strategies as st

START = 10**15
sources = st.sampled_from(["nvml", "kernel log"])


def xid(source: str, at: int = 0, code: int = 79, gpu: str | None = "GPU-a") -> Event:
    """An XID, so many µs after the start."""
    return Event(at=START + at, kind="xid", gpu=gpu, code=code, source=source, message=f"by {source}")


def test_the_first_is_told_and_the_second_confirms_it() -> None:
    """With the time of the first, so that it can be found, and what the second adds."""
    first, second = xid("nvml"), xid("kernel log", 1500)
    pairing = Pairing()
    assert pairing.take([first]) == [first]
    (confirmation,) = pairing.take([second])
    assert (confirmation.kind, confirmation.at, confirmation.gpu) == (XID_CONFIRMED, first.at, "GPU-a")
    assert (confirmation.code, confirmation.source, confirmation.message) == (79, "kernel log", "by kernel log")
    assert confirmation.detail == {"confirms": "nvml", "told_at": second.at}


def test_what_is_another_fault_is_told_as_one() -> None:
    """Another GPU, code or time, or a GPU that nobody knows."""
    pairing = Pairing()
    told = [
        xid("nvml"), xid("kernel log", gpu="GPU-b"), xid("kernel log", code=31), xid("kernel log", WINDOW + 1),
        xid("nvml", gpu=None), xid("kernel log", gpu=None), Event(at=START, kind="sxid", code=79, source="kernel log"),
    ]  # fmt: skip
    assert pairing.take(told) == told


@given(st.lists(st.tuples(sources, st.sampled_from([31, 79])), max_size=40))
def test_as_many_as_the_source_that_told_most(told: list[tuple[str, int]]) -> None:
    """Three times by one and twice by the other is three events, two of them confirmed."""
    found = Pairing().take([xid(source, number, code) for number, (source, code) in enumerate(told)])
    for code in (31, 79):
        kinds = Counter(event.kind for event in found if event.code == code)
        by_source = Counter(source for source, of in told if of == code)
        assert kinds["xid"] == max(by_source.values(), default=0)
        assert kinds["xid"] + kinds[XID_CONFIRMED] == by_source.total()


def test_an_agent_that_starts_again_goes_on_with_it() -> None:
    """What was told before it ended is confirmed after; what was confirmed too is over."""
    earlier = [xid("nvml"), xid("kernel log", 5, 31)]
    earlier += Pairing([earlier[1]]).take([xid("nvml", 6, 31)])
    found = Pairing(earlier).take([xid("kernel log", 50), xid("nvml", 60, 31)])
    assert [event.kind for event in found] == [XID_CONFIRMED, "xid"]
