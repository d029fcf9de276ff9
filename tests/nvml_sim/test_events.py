"""XIDs come through event sets once each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml_sim.fixtures import driver
from tests.nvml_sim.models import h100_sxm, old_card
from tests.nvml_sim.scenario import EVENT_XID, NO_INSTANCE, Scenario

nv: Any = pynvml


def watch(*handles: Any) -> Any:
    """An event set on these GPUs."""
    events = nv.nvmlEventSetCreate()
    for handle in handles:
        nv.nvmlDeviceRegisterEvents(handle, nv.nvmlDeviceGetSupportedEventTypes(handle), events)
    return events


def drain(events: Any, ms: int = 0) -> list[tuple[int, int, int]]:
    """All events that come, as GPU, type and data."""
    found: list[tuple[int, int, int]] = []
    while True:
        try:
            event = nv.nvmlEventSetWait(events, ms)
        except nv.NVMLError_Timeout:
            return found
        assert (event.gpuInstanceId, event.computeInstanceId) == (NO_INSTANCE, NO_INSTANCE)
        found.append((nv.nvmlDeviceGetIndex(event.device), event.eventType, event.eventData))


def test_the_same_xid_three_times_in_a_second_is_three_events(tmp_path: Path) -> None:
    """Repeats are events of their own, at one time too; each set gets each of them; what was before is lost."""
    gpu = h100_sxm(1).xid(48, 1).xid(79, 11.1).xid(79, 11.1).xid(79, 11.9)
    scenario = Scenario([h100_sxm(0).xid(31, 11.5), gpu]).freeze(10)
    with driver(scenario, tmp_path / "s") as file:
        handles = [nv.nvmlDeviceGetHandleByIndex(index) for index in (0, 1)]
        first, second = watch(*handles), watch(handles[1])
        assert drain(first) == []
        scenario.freeze(12).write(file)
        repeated = (1, EVENT_XID, 79)
        assert drain(first) == [repeated, repeated, (0, EVENT_XID, 31), repeated]
        assert drain(first) == []
        assert drain(second) == [repeated] * 3
        nv.nvmlEventSetFree(first)


def test_an_xid_written_while_waiting_arrives_at_once(tmp_path: Path) -> None:
    """Wait blocks until the event's time, not until its timeout, and burns no CPU meanwhile."""
    scenario = Scenario([h100_sxm().xid(63, 0.3)])
    with driver(scenario, tmp_path / "s"):
        events = watch(nv.nvmlDeviceGetHandleByIndex(0))
        used = time.process_time()
        assert nv.nvmlEventSetWait(events, 30_000).eventData == 63
        assert 0.3 <= scenario.now() < 15
        assert time.process_time() - used < 0.1
        with pytest.raises(nv.NVMLError_Timeout):
            nv.nvmlEventSetWait(events, 50)


def test_events_added_live(tmp_path: Path) -> None:
    """A test can send an XID now."""
    scenario = Scenario([h100_sxm()])
    with driver(scenario, tmp_path / "s") as file:
        events = watch(nv.nvmlDeviceGetHandleByIndex(0))
        for code in (94, 95):
            scenario.gpus[0].xid(code, scenario.now())
            scenario.write(file)
            assert drain(events) == [(0, EVENT_XID, code)]


def test_registration_outlives_no_reload(tmp_path: Path) -> None:
    """After a driver reload an event set is of no use any more."""
    scenario = Scenario([h100_sxm().xid(79, 30)]).reload(10, 20).freeze(5)
    with driver(scenario, tmp_path / "s") as file:
        events = watch(nv.nvmlDeviceGetHandleByIndex(0))
        scenario.freeze(31).write(file)
        with pytest.raises(nv.NVMLError_Uninitialized):
            nv.nvmlEventSetWait(events, 0)
        nv.nvmlInit()
        with pytest.raises(nv.NVMLError_InvalidArgument):
            nv.nvmlEventSetWait(events, 0)


def test_an_old_card_has_no_events(tmp_path: Path) -> None:
    """Neither asking for nor registering event types is supported."""
    with driver(Scenario([old_card()]), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        with pytest.raises(nv.NVMLError_NotSupported):
            nv.nvmlDeviceRegisterEvents(handle, EVENT_XID, nv.nvmlEventSetCreate())
