"""MIG instances as partitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.backends.nvidia.driver import of_gpu, opened, sampled, wait_for
from tests.nvml_sim.scenario import Scenario, a100_mig, h100_sxm


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
