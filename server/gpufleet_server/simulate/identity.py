"""What a simulated node and its GPUs say they are: every field of the roster, or why it is absent."""

from __future__ import annotations

import copy
import functools
import hashlib
import uuid

from gpufleet_agent import __version__ as agent_version
from gpufleet_agent.wire import Gpu, Host, Partition, Roster

from gpufleet_server.simulate.faults import FaultKind
from gpufleet_server.simulate.models import GpuModel
from gpufleet_server.simulate.noise import key
from gpufleet_server.simulate.plan import SimNode

_MIB = 1 << 20
_NONE: frozenset[int | None] = frozenset()
# As in the fleets that run: most nodes are on one driver, some lag behind.
_DRIVERS = (("580.95.05", "13.0"), ("580.95.05", "13.0"), ("580.82.07", "13.0"), ("570.172.08", "12.8"))
_BUSES = (0x1B, 0x43, 0x52, 0x61, 0x9D, 0xC3, 0xD1, 0xDF)
# Profile, memory in MiB, multiprocessors, slices: three instances fill an A100 40 GB.
_SLICES = 7
_PROFILES = (("3g.20gb", 20096, 42, 3), ("2g.10gb", 9984, 28, 2), ("2g.10gb", 9984, 28, 2))


def roster(node: SimNode, at: int) -> Roster:
    """The roster as of `at` (µs): a GPU that fell off the bus is in it as lost."""
    lost = lost_indices(node, at)
    common = _of_node(node)
    gpus = [_gpu(node, index, common) for index in range(node.count)]
    for gpu in gpus:
        gpu.state = "lost" if gpu.index in lost else "ok"
    return Roster(host=_host(node), gpus=gpus)


def lost_indices(node: SimNode, at: int) -> frozenset[int | None]:
    """The GPUs that are off the bus as of `at` (µs): all that ever changes in a roster."""
    if not node.faults:
        return _NONE
    return frozenset(fault.gpu for fault in node.having(FaultKind.LOST) if fault.active(at))


def gpu_uuid(node: SimNode, index: int) -> str:
    """The UUID of a GPU."""
    return f"GPU-{_uuid(node, 'gpu', index)}"


def partition_parts(node: SimNode, index: int) -> list[tuple[str, float]]:
    """The UUID of each partition of a GPU, and its share of the GPU's slices."""
    return [(_partition_uuid(node, index, number), slices / _SLICES) for number, (*_, slices) in enumerate(_PROFILES)]


def _host(node: SimNode) -> Host:
    driver, cuda = _DRIVERS[key(node.seed, node.number, "driver") % len(_DRIVERS)]
    large, has_switches = node.count > 2, node.model.nvlinks > 0
    return Host(
        hostname=node.hostname,
        agent_version=agent_version,
        machine_id=node.id.replace("-", ""),
        dmi_vendor="Example Systems",
        dmi_product=f"GX-{node.model.per_node}{node.model.architecture[0]}",
        dmi_serial=f"EX{key(node.seed, node.number, 'dmi') % 10**8:08}",
        os="Ubuntu 24.04.3 LTS",
        kernel="6.8.0-86-generic",
        architecture="x86_64",
        cpu_model="INTEL(R) XEON(R) PLATINUM 8570" if large else "AMD Ryzen 9 7950X 16-Core Processor",
        cpu_sockets=2 if large else 1,
        cpu_threads=224 if large else 32,
        memory_total=(2048 if large else 64) * 1024 * _MIB,
        driver_version=driver,
        nvml_version=f"{cuda.split('.')[0]}.{driver}",
        cuda_version=cuda,
        kernel_module_version=driver,
        fabric_manager="running" if has_switches else None,
        fabric_manager_version=driver if has_switches else None,
        kernel_log="read",
        site=node.site.name,
        room=node.room,
        rack=node.rack,
        attribution="names",
        labels={"use": node.use.name.lower()},
        absent={} if has_switches else dict.fromkeys(("fabric_manager", "fabric_manager_version"), "unsupported"),
        simulated=True,
    )


def _of_node(node: SimNode) -> Gpu:
    """What all GPUs of a node have in common."""
    gpu = copy.copy(_of_model(node.model))
    gpu.chassis_serial = f"18{key(node.seed, node.number, 'chassis') % 10**11:011}"
    gpu.tray_index, gpu.host_id = node.number % 18, 1 + node.number % 2
    gpu.gsp_firmware_version = _DRIVERS[key(node.seed, node.number, "driver") % len(_DRIVERS)][0]
    return gpu


def _gpu(node: SimNode, index: int, common: Gpu) -> Gpu:
    # No two GPUs share what is a board's own; the same number gives the same board for ever.
    bus = _BUSES[index % len(_BUSES)] + (index // len(_BUSES))
    gpu = copy.copy(common)
    gpu.uuid, gpu.index, gpu.minor_number = gpu_uuid(node, index), index, index
    gpu.serial = f"16{key(node.seed, node.number, index, 'board') % 10**11:011}"
    gpu.board_id, gpu.pci_address = bus << 8, f"00000000:{bus:02X}:00.0"
    gpu.numa_node, gpu.module_id, gpu.slot_number = index * 2 // max(node.count, 1), index + 1, index + 1
    if index < node.partitioned:
        gpu.mig_mode = gpu.mig_mode_pending = "enabled"
        gpu.partitions = _partitions(node, index)
    for field in node.model.untold:
        setattr(gpu, field, None)
    return gpu


@functools.cache
def _of_model(model: GpuModel) -> Gpu:
    """What all GPUs of a model have in common."""
    return Gpu(
        uuid="",
        vendor="nvidia",
        index=0,
        model=model.name,
        brand=model.brand,
        architecture=model.architecture,
        compute_capability=model.compute_capability,
        board_part_number=model.part_number,
        vbios_version=model.vbios,
        inforom_image_version=model.inforom,
        inforom_oem_version="2.1",
        inforom_ecc_version="7.16",
        inforom_power_version="1.0",
        pci_device_id=model.device_id,
        pci_subsystem_id=model.subsystem_id,
        memory_total=model.memory * _MIB,
        bar1_total=model.bar1 * _MIB,
        cores=model.cores,
        power_limit_default=model.power_limit,
        power_limit_min=model.power_min,
        power_limit_max=model.power_max,
        graphics_clock_max=model.clock_max,
        sm_clock_max=model.clock_max,
        memory_clock_max=model.memory_clock,
        video_clock_max=model.video_clock,
        slowdown_temperature=model.slowdown,
        shutdown_temperature=model.shutdown,
        gpu_temperature_max=model.slowdown - 2,
        memory_temperature_max=95,
        ecc_mode="enabled",
        ecc_mode_pending="enabled",
        mig_mode="disabled",
        mig_mode_pending="disabled",
        persistence_mode="enabled",
        compute_mode="default",
        pcie_generation_max=model.pcie_generation,
        pcie_width_max=16,
        nvlink_count=model.nvlinks,
        nvlink_version=model.nvlink_version,
        # A board with its own switches is a fabric of its own, which has no name.
        fabric_cluster=str(uuid.UUID(int=0)),
        fabric_clique=0,
        gsp_firmware_mode="enabled",
        absent=dict.fromkeys(model.untold, "unsupported"),
    )


def _partitions(node: SimNode, index: int) -> list[Partition]:
    return [
        Partition(
            uuid=_partition_uuid(node, index, number),
            profile=profile,
            gpu_instance=number + 1,
            compute_instance=0,
            memory_total=memory * _MIB,
            multiprocessors=multiprocessors,
            slices=slices,
            compute_slices=slices,
            share=slices / _SLICES,
        )
        for number, (profile, memory, multiprocessors, slices) in enumerate(_PROFILES)
    ]


def _partition_uuid(node: SimNode, index: int, number: int) -> str:
    return f"MIG-{_uuid(node, 'partition', index, number)}"


def _uuid(node: SimNode, *parts: object) -> uuid.UUID:
    text = "/".join(map(str, (node.seed, node.number, *parts)))
    return uuid.UUID(bytes=hashlib.blake2b(text.encode(), digest_size=16).digest())
