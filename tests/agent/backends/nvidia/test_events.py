"""XIDs and GPUs that leave and come back, as events."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from gpufleet_agent.catalogue import BY_NAME, Reason

from tests.agent.backends.nvidia.driver import of_gpu, opened, sampled, stated, wait_for
from tests.nvml_sim.scenario import Scenario, h100_sxm, old_card


def test_an_xid_three_times_in_a_second_is_three_events(tmp_path: Path) -> None:
    """Repeats are events of their own, of the GPU they befell, with the driver as source."""
    gpu = h100_sxm(1)
    scenario = Scenario([h100_sxm(0), gpu, old_card(2)])
    with opened(scenario, tmp_path / "s") as session:
        for after in (0.0, 0.1, 0.2):
            gpu.xid(79, scenario.now() + after)
        scenario.write(tmp_path / "s")
        found = wait_for(session, "xid", 3)
        assert session.wait(0.05) == []
    assert [(e.gpu, e.code, e.source, e.partition) for e in found] == [(gpu.values["uuid"], 79, "nvml", None)] * 3
    assert all(abs(e.at / 1e6 - time.time()) < 5 for e in found)


def test_which_gpus_tell_their_xids(tmp_path: Path) -> None:
    """Those whose driver supports the event; a card without events, or without this one, is not among them."""
    gpu, without = h100_sxm(0), h100_sxm(1, {"supported_event_types": 0x100})
    with opened(Scenario([gpu, without, old_card(2)]), tmp_path / "s") as session:
        assert session.xid_gpus() == [gpu.values["uuid"]]


def test_an_xid_ends_the_wait_at_once_and_waiting_costs_nothing(tmp_path: Path) -> None:
    """The process sleeps in the driver until the event, not until the tick."""
    scenario = Scenario([h100_sxm(0)])
    with opened(scenario, tmp_path / "s") as session:
        scenario.gpus[0].xid(63, scenario.now() + 0.25).xid(64, scenario.now() + 0.25)
        scenario.write(tmp_path / "s")
        began, used = time.monotonic(), time.process_time()
        events = session.wait(30)
        assert time.monotonic() - began < 15
        assert time.process_time() - used < 0.1
    assert [event.code for event in events] == [63, 64]


@pytest.mark.parametrize("gpus", [[], [old_card(0)]])
def test_without_events_wait_is_a_sleep(gpus: list[object], tmp_path: Path) -> None:
    """No GPU here tells events: the time is slept out."""
    scenario = Scenario([old_card(0)] if gpus else [])
    with opened(scenario, tmp_path / "s") as session:
        began = time.monotonic()
        assert session.wait(0.1) == []
        assert time.monotonic() - began >= 0.1


def test_critical_events_of_newer_drivers(tmp_path: Path) -> None:
    """What the GPU supports is asked for, but neither ECC counts nor clock changes."""
    gpu = h100_sxm(0, {"supported_event_types": 0xFFFF})
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        for kind in (0x1, 0x10, 0x2000, 0x8000):
            gpu.event(kind, 5, scenario.now())
        scenario.write(tmp_path / "s")
        found = session.wait(1)
    assert [(e.kind, e.code, e.detail) for e in found] == [
        ("poison_fatal", None, {"data": 5}),
        ("gpu_recovery_action", None, {"data": 5}),
    ]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_gpu_is_lost_and_returns(hidden: bool, tmp_path: Path) -> None:
    """One event each; in between its metrics are lost, its identity stays, and the others go on."""
    gpu = h100_sxm(1).lost(1010, 1020, hidden=hidden).xid(79, 1010)
    uuid = str(gpu.values["uuid"])
    scenario = Scenario([h100_sxm(0), gpu, h100_sxm(2)]).freeze(1000)
    file = tmp_path / "s"
    with opened(scenario, file, probe_every=0) as session:
        before = session.gpus()
        session.sample()
        scenario.freeze(1010).write(file)
        lost = sampled(session)
        assert {column[1] - BY_NAME[name].lowest for name, column in lost.columns.items()} == {Reason.LOST}
        assert of_gpu(lost, 2)["gpu_temperature"] == 41
        events = session.wait(0)
        assert [(e.kind, e.gpu) for e in events] == [("gpu_lost", uuid), ("xid", uuid)]
        assert (set(stated(session, uuid).values()), session.gpus()[1].serial) == ({"lost"}, before[1].serial)
        assert [g.state for g in session.gpus()] == ["ok", "lost", "ok"]
        sampled(session)
        assert session.wait(0) == []
        scenario.freeze(1020).write(file)
        returned = of_gpu(sampled(session), 1)
        assert [(e.kind, e.gpu) for e in session.wait(0)] == [("gpu_returned", uuid)]
        assert (returned["gpu_temperature"], returned["energy"]) == (36, "not observed")
        assert session.gpus() == before


def test_a_lost_gpu_is_looked_for_once_in_a_while(tmp_path: Path) -> None:
    """It returns within the time between two looks, and not by a look in every sample."""
    gpu = h100_sxm(0).lost(1010, 1020)
    scenario = Scenario([gpu]).freeze(1010)
    with opened(scenario, tmp_path / "s", probe_every=0.1) as session:
        session.sample()
        scenario.freeze(1020).write(tmp_path / "s")
        sampled(session)
        assert session.wait(0) == []
        time.sleep(0.1)
        sampled(session)
        assert [e.kind for e in session.wait(0)] == ["gpu_returned"]


def test_a_change_of_the_drivers_list_is_seen_by_the_next_sample(tmp_path: Path) -> None:
    """A GPU that appears is sampled and in the roster at once, without an event; one that disappears is lost."""
    scenario, later = Scenario([h100_sxm(0)]), Scenario([h100_sxm(0), h100_sxm(1)])
    uuids = [str(gpu.values["uuid"]) for gpu in later.gpus]
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        later.write(tmp_path / "s")
        assert list(sampled(session).gpus) == uuids
        assert ([gpu.uuid for gpu in session.gpus()], session.wait(0)) == (uuids, [])
        scenario.write(tmp_path / "s")
        assert of_gpu(sampled(session), 1)["power"] == "lost"
        assert [(e.kind, e.gpu) for e in session.wait(0)] == [("gpu_lost", uuids[1])]


def test_a_gpu_lost_from_the_start_keeps_its_place(tmp_path: Path) -> None:
    """It is counted, so it is listed, although the driver does not even tell its UUID; then it gets its name."""
    gpu = h100_sxm(1).lost(0, 1020)
    scenario = Scenario([h100_sxm(0), gpu]).freeze(1010)
    with opened(scenario, tmp_path / "s", probe_every=0) as session:
        found = session.gpus()[1]
        assert (found.state, found.serial, found.absent["serial"], found.index) == ("lost", None, "lost", 1)
        session.sample()
        assert of_gpu(sampled(session), 1)["power"] == "lost"
        scenario.freeze(1020).write(tmp_path / "s")
        assert [g.uuid for g in session.gpus()] == [g.values["uuid"] for g in scenario.gpus]
        assert [e.kind for e in session.wait(0)] == ["gpu_returned"]


def test_another_gpu_in_the_place_of_a_lost_one(tmp_path: Path) -> None:
    """A swapped board is a new GPU; the old one was lost, and then it is gone."""
    gpu = h100_sxm(0).lost(1010, 1020).at(1020, "uuid", "GPU-new").at(1020, "serial", "1999")
    scenario = Scenario([gpu]).freeze(1000)
    with opened(scenario, tmp_path / "s", probe_every=0) as session:
        session.sample()
        for now in (1010, 1020):
            scenario.freeze(now).write(tmp_path / "s")
            tick = sampled(session)
        assert list(tick.gpus) == ["GPU-new"]
        assert [(g.uuid, g.state, g.serial) for g in session.gpus()] == [("GPU-new", "ok", "1999")]
        assert [(e.kind, e.gpu) for e in session.wait(0)] == [("gpu_lost", gpu.values["uuid"])]
        gpu.xid(13, 1021)
        scenario.freeze(1022).write(tmp_path / "s")
        (event,) = wait_for(session, "xid")
    assert event.gpu == "GPU-new"


def test_a_wait_that_finds_a_gpu_lost_goes_on_with_the_others(tmp_path: Path) -> None:
    """NVML's wait may fail for one GPU's sake: that one is told, the others' events still come."""
    lost, healthy = h100_sxm(0).lost(0.2, 1e9), h100_sxm(1)
    scenario = Scenario([lost, healthy])
    scenario.system.fail("nvmlEventSetWait_v2", "gpu_is_lost", 0.2, 0.3)
    with opened(scenario, tmp_path / "s") as session:
        (event,) = wait_for(session, "gpu_lost")
        assert event.gpu == lost.values["uuid"]
        healthy.xid(45, scenario.now() + 0.2)
        scenario.write(tmp_path / "s")
        (xid,) = wait_for(session, "xid")
    assert (xid.gpu, xid.code) == (healthy.values["uuid"], 45)
