"""Two rosters, and the events between them."""

import pytest
from gpufleet_agent.runtime.roster import roster_events
from gpufleet_agent.wire import Gpu, Host, Partition, Roster


def roster(*gpus: Gpu, driver: str | None = "570.1") -> Roster:
    """A node with these GPUs."""
    return Roster(host=Host(hostname="h", agent_version="0", driver_version=driver), gpus=list(gpus))


PLAIN = Gpu(uuid="GPU-0", vendor="v", index=0, serial="s0", ecc_mode="enabled", model="X")
LOST = Gpu(uuid="GPU-0", vendor="v", index=0, state="lost")
OTHER = Gpu(uuid="GPU-1", vendor="v", index=1)
CHANGED = Gpu(uuid="GPU-0", vendor="v", index=0, serial="s0", ecc_mode="disabled")
CUT = Gpu(
    uuid="GPU-0",
    vendor="v",
    index=0,
    serial="s0",
    ecc_mode="enabled",
    model="X",
    partitions=[Partition(uuid="MIG-1", profile="1g.10gb")],
)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (roster(PLAIN), roster(PLAIN), []),
        (roster(PLAIN), roster(PLAIN, OTHER), ["gpu_added"]),
        (roster(PLAIN, OTHER), roster(OTHER), ["gpu_removed"]),
        (roster(PLAIN), roster(OTHER), ["gpu_added", "gpu_removed"]),
        (roster(PLAIN), roster(LOST), ["gpu_lost"]),
        (roster(LOST), roster(CUT), ["gpu_returned"]),
        (roster(PLAIN), roster(CUT), ["partition_added"]),
        (roster(CUT), roster(PLAIN), ["partition_removed"]),
        (roster(PLAIN), roster(PLAIN, driver="575.2"), ["driver_changed"]),
        (roster(PLAIN, driver=None), roster(PLAIN), []),
    ],
)
def test_each_change_is_one_event(before: Roster, after: Roster, kinds: list[str]) -> None:
    """What a lost GPU no longer tells, and what could not be read before, is no change."""
    assert [event.kind for event in roster_events(before, after)] == kinds


def test_a_changed_field_is_named_with_both_values() -> None:
    """A field that merely became unreadable is not told."""
    (event,) = roster_events(roster(PLAIN), roster(CHANGED))
    assert event.detail == {"field": "ecc_mode", "old": "enabled", "new": "disabled"}
    assert event.message == "ecc_mode enabled → disabled"


def test_a_partition_is_named_with_its_gpu() -> None:
    """Whoever reads the event knows which one it was."""
    (event,) = roster_events(roster(PLAIN), roster(CUT))
    assert (event.gpu, event.partition, event.message) == ("GPU-0", "MIG-1", "1g.10gb")
