"""Every identity field, from the simulated driver to the roster."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from gpufleet_agent.wire import Gpu

from tests.agent.backends.nvidia.driver import opened
from tests.nvml_sim.scenario import Device, Scenario, b200, error, h100_sxm, old_card

# Values that the models share between GPUs or fields, made ones that no other field has.
DISTINCT = {
    "compute_mode": 3,
    "persistence_mode": 0,
    "ecc_mode.current": 0,
    "ecc_mode.pending": 1,
    "mig_mode.current": 0,
    "mig_mode.pending": 1,
    "gsp.enabled": 1,
    "gsp.default": 0,
    "pcie.max_gen": 4,
    "pcie.max_width": 8,
    "pcie.gpu_max_gen": 5,
    "module_id": 7,
    "numa_node": 2,
    "minor_number": 43,
    "platform.module_id": 6,
    "fabric.clique": 9,
}


def identity(gpu: Device, tmp_path: Path) -> Gpu:
    """The roster's entry of the only GPU, after a way over the wire."""
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        (found,) = session.gpus()
    return msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Gpu)


def number(gpu: Device, name: str) -> int:
    """A field of the scenario that is an integer."""
    value = gpu.values[name]
    assert isinstance(value, int)
    return value


def expected(gpu: Device) -> dict[str, Any]:
    """The roster's entry for a GPU that gives all, by the scenario's fields."""
    texts = {
        "uuid": "uuid", "serial": "serial", "model": "name", "board_part_number": "board_part_number",
        "vbios_version": "vbios_version", "inforom_image_version": "inforom.image",
        "inforom_oem_version": "inforom.oem", "inforom_ecc_version": "inforom.ecc",
        "inforom_power_version": "inforom.power", "gsp_firmware_version": "gsp.version",
        "chassis_serial": "platform.chassis_serial",
    }  # fmt: skip
    numbers = {
        "board_id": "board_id", "minor_number": "minor_number", "numa_node": "numa_node", "module_id": "module_id",
        "tray_index": "platform.tray_index", "slot_number": "platform.slot_number", "host_id": "platform.host_id",
        "memory_total": "fb.total", "bar1_total": "bar1.total", "cores": "num_gpu_cores",
        "graphics_clock_max": "max_clock.graphics", "sm_clock_max": "max_clock.sm",
        "memory_clock_max": "max_clock.mem", "video_clock_max": "max_clock.video",
        "slowdown_temperature": "threshold.slowdown", "shutdown_temperature": "threshold.shutdown",
        "gpu_temperature_max": "threshold.gpu_max", "memory_temperature_max": "threshold.mem_max",
        "fabric_clique": "fabric.clique",
        "pcie_generation_max": "pcie.max_gen", "pcie_width_max": "pcie.max_width", "nvlink_count": "nvlink.count",
    }  # fmt: skip
    watts = {"default": "default", "min": "min", "max": "max"}
    return (
        {field: gpu.values[name] for field, name in (texts | numbers).items()}
        | {f"power_limit_{a}": number(gpu, f"power_{b}_limit_mw") / 1000 for a, b in watts.items()}
        | {
            "fabric_cluster": str(UUID("c1a5" * 8)),
            "pci_address": f"00000000:{number(gpu, 'pci.bus'):02X}:00.0",
            "pci_device_id": f"0x{number(gpu, 'pci.device_id'):08X}",
            "pci_subsystem_id": f"0x{number(gpu, 'pci.subsystem_id'):08X}",
        }
    )


def test_every_identity_field_is_the_drivers_own(tmp_path: Path) -> None:
    """A board that tells all: nothing is absent, and each field has the value that only it has."""
    gpu = b200(3, {**DISTINCT, "nvlink.0.version": error("not_supported"), "nvlink.1.version": 7})
    found = identity(gpu, tmp_path)
    wanted = expected(gpu) | {
        "vendor": "nvidia", "index": 0, "state": "ok", "brand": "NVIDIA", "architecture": "Blackwell",
        "compute_capability": "10.0", "compute_mode": "exclusive process", "persistence_mode": "disabled",
        "ecc_mode": "disabled", "ecc_mode_pending": "enabled", "mig_mode": "disabled", "mig_mode_pending": "enabled",
        "gsp_firmware_mode": "enabled", "nvlink_version": "5.0", "partitions": [], "absent": {},
    }  # fmt: skip
    assert msgspec.structs.asdict(found) == wanted
    words = {"enabled", "disabled"}
    values = [value for value in wanted.values() if value not in ([], {}) and value not in words and value != "nvidia"]
    assert len(values) == len(set(values))


def test_an_old_card_says_why_so_much_is_absent(tmp_path: Path) -> None:
    """Every field that is None has a reason, and no other has."""
    found = identity(old_card(1, {"vbios_version": error("no_permission"), "board_id": error("unknown")}), tmp_path)
    absent = {name for name in Gpu.__struct_fields__ if getattr(found, name) is None}
    assert set(found.absent) == absent
    assert {"serial", "ecc_mode", "nvlink_version", "cores", "chassis_serial"} < absent
    assert (found.absent["serial"], found.absent["vbios_version"]) == ("unsupported", "no permission")
    assert (found.absent["board_id"], found.brand, found.architecture) == ("failed", "GeForce", "Pascal")


@pytest.mark.parametrize(
    ("overrides", "field", "reason"),
    [
        ({"serial": ""}, "serial", "unsupported"),
        ({"serial": "0000000000000"}, "serial", "implausible"),
        ({"minor_number": 0xFFFFFFFF}, "minor_number", "implausible"),
        ({"compute_mode": 9}, "compute_mode", "implausible"),
        ({"threshold.slowdown": 70_000}, "slowdown_temperature", "implausible"),
    ],
)
def test_what_the_wire_would_refuse_is_implausible(
    overrides: dict[str, int | str], field: str, reason: str, tmp_path: Path
) -> None:
    """One bad field costs that field, not the GPU."""
    found = identity(h100_sxm(0, {**overrides}), tmp_path)
    assert getattr(found, field) is None
    assert found.absent[field] == reason
    assert found.model == "NVIDIA H100 80GB HBM3"


def test_names_newer_than_the_table_stay_readable(tmp_path: Path) -> None:
    """A brand or architecture of tomorrow is told by its number."""
    found = identity(h100_sxm(0, {"architecture": 77, "brand": 66}), tmp_path)
    assert (found.architecture, found.brand) == ("unknown (77)", "unknown (66)")


def test_links_are_counted_where_the_driver_has_no_count(tmp_path: Path) -> None:
    """By asking for the state of each."""
    assert identity(h100_sxm(0, {"field.91": error("not_supported")}), tmp_path).nvlink_count == 18
