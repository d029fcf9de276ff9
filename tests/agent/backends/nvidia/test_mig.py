"""MIG instances as partitions."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpufleet_agent.backends.nvidia import device
from gpufleet_agent.catalogue import BY_NAME, METRICS

from tests.agent.backends.nvidia.driver import of_gpu, opened, sampled, sampled_over, shown, stated, wait_for
from tests.nvml_sim.models import SEVENTHS
from tests.nvml_sim.scenario import Scenario, a100_mig, error, h100_mig, h100_sxm


def test_every_field_of_a_partition(tmp_path: Path) -> None:
    """Five instances on four GPU instances, each told as the driver tells it."""
    gpu = a100_mig(2)
    with opened(Scenario([h100_sxm(0), gpu]), tmp_path / "s") as session:
        whole, cut = session.gpus()
    assert (whole.partitions, cut.mig_mode) == ([], "enabled")
    assert [p.profile for p in cut.partitions] == ["1c.3g.40gb", "2c.3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"]
    assert [(p.gpu_instance, p.compute_instance) for p in cut.partitions] == [(1, 0), (1, 1), (5, 0), (11, 0), (13, 0)]
    for partition, instance in zip(cut.partitions, gpu.instances, strict=True):
        values = instance.values
        assert partition.uuid == values["uuid"]
        assert (partition.multiprocessors, partition.slices) == (
            values["attr.multiprocessors"],
            values["attr.gpu_slices"],
        )
        assert isinstance(values["attr.memory_mb"], int)
        assert (partition.memory_total, partition.absent) == (values["attr.memory_mb"] << 20, {})


def test_a_profile_without_a_name_is_put_together(tmp_path: Path) -> None:
    """From the slices and the memory, as NVIDIA names them."""
    gpu = a100_mig(0)
    for instance in gpu.instances:
        instance.set("name", "NVIDIA A100-SXM4-80GB")
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        (found,) = session.gpus()
    assert [p.profile for p in found.partitions] == ["1c.3g.40gb", "2c.3g.40gb", "2g.20gb", "1g.10gb", "1g.10gb"]


def test_processes_of_all_instances_count(tmp_path: Path) -> None:
    """The GPU's count is the sum of its instances'."""
    gpu = a100_mig(0)
    for pid, place in enumerate((0, 1, 1, 4)):
        gpu.instances[place].process(100 + pid, "train")
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        session.sample()
        assert of_gpu(sampled(session))["compute_processes"] == 4


def test_instances_that_change_are_seen(tmp_path: Path) -> None:
    """A survey finds the new set, and the processes are counted in it."""
    gpu = a100_mig(0)
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        del gpu.instances[2:]
        gpu.instances[1].process(7, "infer")
        scenario.write(tmp_path / "s")
        assert len(session.gpus()[0].partitions) == 2
        assert of_gpu(sampled(session))["compute_processes"] == 1


@pytest.mark.parametrize(
    ("ids", "partition"),
    [
        ((5, 0), "MIG-00000002-5a1e-5000-8000-000000000002"),
        ((11, 0xFFFFFFFF), "MIG-00000003-5a1e-5000-8000-000000000003"),
        ((9, 4), "MIG-GPU-00000000-5a1e-4000-8000-f1ee70000000/9/4"),
        ((0xFFFFFFFF, 0xFFFFFFFF), None),
    ],
)
def test_an_xid_names_its_partition(ids: tuple[int, int], partition: str | None, tmp_path: Path) -> None:
    """By its UUID if it is known, else by its ids; an event of the whole GPU names none."""
    gpu = a100_mig(0)
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        gpu.xid(31, scenario.now(), *ids)
        scenario.write(tmp_path / "s")
        (event,) = wait_for(session, "xid")
    assert (event.gpu, event.partition, event.code) == (gpu.values["uuid"], partition, 31)


ACTIVITY = {"sm_active": "sm_util", "sm_occupancy": "sm_occupancy", "tensor_active": "any_tensor_util"}


def test_every_metric_of_partitions(tmp_path: Path) -> None:
    """Memory and processes are asked of their own handles, activity is their GPU instance's; the rest is left out."""
    gpu = h100_mig(0)
    gpu.instances[2].process(7, "train")
    scenario = Scenario([h100_sxm(1), gpu])
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s")
    assert tick.partitions == tuple(instance.values["uuid"] for instance in gpu.instances)
    assert set(tick.partition_columns) == {metric.name for metric in METRICS if metric.of_partitions}
    leaders = (0, 0, 2, 3, 4)
    for place, instance in enumerate(gpu.instances):
        got = {name: shown(name, column[place]) for name, column in tick.partition_columns.items()}
        values = gpu.instances[leaders[place]].values
        assert got["fb_used"] == instance.values["fb.used"]
        assert got["compute_processes"] == (1 if place == 2 else 0)
        assert got["gpu_utilization"] == values["gpm.graphics_util"]
        assert got["dram_active"] == values["gpm.dram_bw_util"]
        assert {name: got[name] for name in ACTIVITY} == {name: values[f"gpm.{of}"] for name, of in ACTIVITY.items()}


def test_shares_make_a_whole(tmp_path: Path) -> None:
    """Of seven slices three are divided 1 : 2; those of a GPU that is wholly given out come to one."""
    with opened(Scenario([h100_mig(0), h100_mig(1, layout=SEVENTHS[:3])]), tmp_path / "s") as session:
        whole, part = session.gpus()
    assert [p.compute_slices for p in whole.partitions] == [1, 2, 2, 1, 1]
    assert [p.share for p in whole.partitions] == pytest.approx([1 / 7, 2 / 7, 2 / 7, 1 / 7, 1 / 7])
    assert [p.share for p in part.partitions] == pytest.approx([1 / 7] * 3)


def test_what_partitions_do_adds_up_to_what_the_gpu_does(tmp_path: Path) -> None:
    """Each partition's activity by its share, summed, is the driver's truth of the whole, and what is told of it."""
    gpu = h100_mig(0)
    weights = (3 / 7, 0, 2 / 7, 1 / 7, 1 / 7)
    for of in ACTIVITY.values():
        truth = sum(w * float(str(i.values[f"gpm.{of}"])) for w, i in zip(weights, gpu.instances, strict=True))
        gpu.set(f"gpm.{of}", truth)
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        (found,) = session.gpus()
        tick = sampled_over(session, scenario, tmp_path / "s")
    shares = [partition.share or 0.0 for partition in found.partitions]
    for name, of in ACTIVITY.items():
        column = tick.partition_columns[name]
        summed = sum(share * float(shown(name, stored) or 0) for share, stored in zip(shares, column, strict=True))
        assert summed == pytest.approx(gpu.values[f"gpm.{of}"], abs=0.01)
        assert of_gpu(tick)[name] == pytest.approx(gpu.values[f"gpm.{of}"], abs=0.01)


def test_without_profiling_of_instances_nothing_is_made_up(tmp_path: Path) -> None:
    """Before Hopper there is no activity, of partitions or of their GPU; memory and processes are there."""
    scenario = Scenario([a100_mig(0)])
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s")
    assert {of_gpu(tick)[name] for name in ("gpu_utilization", *ACTIVITY)} == {"unsupported"}
    for name, column in tick.partition_columns.items():
        present = {BY_NAME[name].reason(stored) is None for stored in column}
        assert present == {name in ("fb_used", "fb_free", "fb_reserved", "compute_processes")}


def test_a_gpu_that_is_cut_into_nothing_yet_does_nothing(tmp_path: Path) -> None:
    """MIG is on and there is no instance: no kernel can run."""
    scenario = Scenario([h100_mig(0, layout=())])
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s")
    assert (of_gpu(tick)["sm_active"], tick.partitions) == (0, ())


def test_partitions_that_may_not_be_seen_are_not_none(tmp_path: Path) -> None:
    """Where the driver lets nobody see them, the GPU is not one that does nothing."""
    gpu = h100_mig(0).fail("nvmlDeviceGetMigDeviceHandleByIndex", "no_permission")
    gpu.instances[0].process(7, "train")
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        tick = sampled_over(session, scenario, tmp_path / "s")
    assert (of_gpu(tick)["sm_active"], tick.partitions) == ("no permission", ())
    assert of_gpu(tick)["compute_processes"] == 1


def test_who_may_not_see_the_whole_memory_sees_that_of_the_instances(tmp_path: Path) -> None:
    """Of compute instances that share a GPU instance, and with it the memory, one counts."""
    gpu = h100_mig(0).set("fb.used", error("no_permission"))
    used = [int(str(gpu.instances[place].values["fb.used"])) for place in (0, 2, 3, 4)]
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        session.sample()
        assert of_gpu(sampled(session))["fb_used"] == sum(used)


def test_errors_that_only_instances_tell_are_the_gpus(tmp_path: Path) -> None:
    """SRAM errors since the load of the driver: summed over GPU instances where the GPU itself gives none."""
    gpu = h100_mig(0).set("ecc.uncorrected.volatile.sram", error("not_supported"))
    for number, instance in enumerate(gpu.instances):
        instance.set("ecc.uncorrected.volatile.sram", number + 1)
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        assert stated(session, str(gpu.values["uuid"]))["ecc_sram_uncorrected_volatile"] == 1 + 3 + 4 + 5


def test_partitions_of_a_lost_gpu_are_lost(tmp_path: Path) -> None:
    """They keep their places, with the reason."""
    gpu = h100_mig(0)
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        gpu.lost(0)
        scenario.write(tmp_path / "s")
        tick = sampled(session)
    assert len(tick.partitions) == 5
    assert {shown(name, s) for name, column in tick.partition_columns.items() for s in column} == {"lost"}


def test_a_partition_whose_handle_says_lost_is_no_lost_gpu(tmp_path: Path) -> None:
    """The GPU is asked itself: it is there, and has one partition less."""
    gpu = h100_mig(0)
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        gpu.instances[-1].fail("*", "gpu_is_lost")
        scenario.write(tmp_path / "s")
        tick = sampled(session)
    assert len(tick.partitions) == 4
    assert of_gpu(tick)["power"] != "lost"


def test_partitions_are_met_between_surveys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ten seconds the set is looked at: an old handle may be another partition's by then."""
    monkeypatch.setattr(device, "_LOOK_SECONDS", 0.0)
    gpu = h100_mig(0, layout=SEVENTHS)
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        del gpu.instances[5:]
        scenario.write(tmp_path / "s")
        assert len(sampled(session).partitions) == 5
