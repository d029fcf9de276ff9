"""Every metric that is sent on change, from the simulated driver to the stored integer."""

from __future__ import annotations

from pathlib import Path

from gpufleet_agent.catalogue import BY_NAME, ON_CHANGE

from tests.agent.backends.nvidia.driver import Shown, opened, shown, stated
from tests.nvml_sim.scenario import Device, Scenario, Value, a100_mig, b200, error, h100_sxm, old_card

FIELDS = {
    "pcie_link_generation": "pcie.gen",
    "pcie_link_width": "pcie.width",
    "pcie_replays": "pcie.replay",
    "nvlink_crc_flit_errors": "field.38",
    "nvlink_crc_data_errors": "field.45",
    "nvlink_replay_errors": "field.52",
    "nvlink_recovery_errors": "field.59",
    "ecc_sram_corrected_volatile": "ecc.corrected.volatile.sram",
    "ecc_sram_uncorrected_volatile": "ecc.uncorrected.volatile.sram",
    "ecc_dram_corrected_volatile": "ecc.corrected.volatile.dram",
    "ecc_dram_uncorrected_volatile": "ecc.uncorrected.volatile.dram",
    "ecc_sram_corrected": "ecc.corrected.aggregate.sram",
    "ecc_sram_uncorrected": "ecc.uncorrected.aggregate.sram",
    "ecc_dram_corrected": "ecc.corrected.aggregate.dram",
    "ecc_dram_uncorrected": "ecc.uncorrected.aggregate.dram",
    "remapped_rows_correctable": "remap.correctable",
    "remapped_rows_uncorrectable": "remap.uncorrectable",
    "remap_pending": "remap.pending",
    "remap_failed": "remap.failed",
    "remap_banks_full_spares": "remap.histogram.max",
    "remap_banks_high_spares": "remap.histogram.high",
    "remap_banks_partial_spares": "remap.histogram.partial",
    "remap_banks_low_spares": "remap.histogram.low",
    "remap_banks_no_spares": "remap.histogram.none",
    "sram_threshold_exceeded": "sram.threshold_exceeded",
    "fabric_state": "fabric.state",
    "fabric_status": "fabric.status",
    "recovery_action": "field.230",
}
# NVML's mask of a fabric with degraded bandwidth, an unhealthy route and too few links, the rest well.
TROUBLED, TROUBLE = 0x1 | 0x2 << 2 | 0x1 << 4 | 0x2 << 6 | 0x5 << 8 | 0x1 << 12 | 0x1 << 14, 0x15
TELLING: dict[str, Value] = {
    "pcie.gen": 3, "pcie.width": 8, "nvlink.4.state": 0, "remap.failed": 1, "retired.pending": 1, "fabric.state": 1,
    "fabric.status": 12_321, "fabric.health_mask": TROUBLED, "field.230": 6, "sram.threshold_exceeded": 1,
    "remap.uncorrectable": 23,
}  # fmt: skip


def newer_links(gpu: Device) -> Device:
    """The GPU with the error counters of Blackwell's links, each number another's."""
    for place, number in enumerate((208, 214, 219)):
        gpu.update({f"field.{number}.{link}": 7_000_000 * (place + 1) + link for link in range(18)})
    return gpu


def states(gpu: Device, tmp_path: Path) -> dict[str, Shown]:
    """The states of the only GPU."""
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        return stated(session, str(gpu.values["uuid"]))


def total(gpu: Device, template: str) -> int:
    """The sum over all links of a field of the scenario."""
    names = (template.format(link) for link in range(18))
    return sum(value for name in names if isinstance(value := gpu.values.get(name), int))


def test_every_state_is_the_drivers_own(tmp_path: Path) -> None:
    """Each value has its number, and the sums over links are sums over links."""
    gpu = newer_links(h100_sxm(2, TELLING))
    for page in range(6):
        gpu.retire(4096 * page, 1_600_000_000, double_bit=page > 3)
    got = states(gpu, tmp_path)
    wanted = {metric: gpu.values[field] for metric, field in FIELDS.items()} | {
        "power_limit": shown("power_limit", BY_NAME["power_limit"].store(gpu.values["power_enforced_limit_mw"] / 1000)),  # type: ignore[operator]
        "nvlink_links_up": 17,
        "nvlink_links_down": 1 << 4,
        "nvlink_receive_errors": total(gpu, "field.208.{}"),
        "nvlink_failed_recoveries": total(gpu, "field.214.{}"),
        "nvlink_effective_errors": total(gpu, "field.219.{}"),
        "fabric_trouble": TROUBLE,
        "nvlink_ecc_errors": total(gpu, "nvlink.{}.error.4"),
        "retired_pages_single_bit": 4,
        "retired_pages_double_bit": 2,
        "retirement_pending": 1,
    }
    assert got == wanted
    assert set(got) == {metric.name for metric in ON_CHANGE}
    flags = {"remap_pending", "remap_failed", "retirement_pending", "sram_threshold_exceeded"}
    numbers = [value for name, value in got.items() if name not in flags]
    assert len(numbers) == len(set(numbers))


def test_errors_of_links_one_by_one(tmp_path: Path) -> None:
    """Without totals the fields of each link count, then Blackwell's, then the old getter's."""
    gpu = b200(1)
    gone = ("field.38", "field.45", "field.52", "field.59", *(f"field.162.{link}" for link in range(18)))
    for name in gone:
        del gpu.values[name]
    got = states(gpu, tmp_path)
    assert got["nvlink_crc_flit_errors"] == total(gpu, "field.163.{}")
    assert got["nvlink_crc_data_errors"] == total(gpu, "nvlink.{}.error.3")
    assert got["nvlink_replay_errors"] == total(gpu, "field.161.{}")
    assert got["nvlink_recovery_errors"] == total(gpu, "field.215.{}")


def test_an_old_card_has_few_states(tmp_path: Path) -> None:
    """The rest is unsupported, nowhere zero."""
    got = states(old_card(0), tmp_path)
    present = {name for name, value in got.items() if value != "unsupported"}
    assert present == {"power_limit", "pcie_link_generation", "pcie_link_width", "pcie_replays"}


def test_states_change_and_stay_per_gpu(tmp_path: Path) -> None:
    """A second look gives the second value, of each GPU its own."""
    gpus = [h100_sxm(0).at(1010, "ecc.uncorrected.volatile.dram", 7), a100_mig(1)]
    scenario = Scenario(gpus).freeze(1000)
    with opened(scenario, tmp_path / "s") as session:
        first = [stated(session, str(gpu.values["uuid"])) for gpu in gpus]
        scenario.freeze(1010).write(tmp_path / "s")
        second = [stated(session, str(gpu.values["uuid"])) for gpu in gpus]
    assert first[1] == second[1]
    assert second[0] == first[0] | {"ecc_dram_uncorrected_volatile": 7}


def test_fabric_of_drivers_that_know_less(tmp_path: Path) -> None:
    """The first version of the call has no mask, and a GPU without a fabric has no state."""
    gpus = [h100_sxm(0, {"fabric.state": 2}).fail("nvmlDeviceGetGpuFabricInfoV", "not_supported"), h100_sxm(1)]
    gpus[1].update({"fabric.state": 0, "fabric.health_mask": 0, "fabric.status": error("not_supported")})
    with opened(Scenario(gpus), tmp_path / "s") as session:
        first, second = (stated(session, str(gpu.values["uuid"])) for gpu in gpus)
    names = ("fabric_state", "fabric_status", "fabric_trouble")
    assert [first[name] for name in names] == [2, 0, "unsupported"]
    assert [second[name] for name in names] == ["unsupported"] * 3


def test_a_link_that_follows_the_load_is_told_with_the_sample(tmp_path: Path) -> None:
    """Generation and width are read with each sample, so that a busy GPU is never held against an idle one's link."""
    gpu = h100_sxm(0, {"pcie.gen": 1}).at(1000.2, "pcie.gen", 5)
    scenario = Scenario([gpu]).freeze(1000)
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        idle = session.sample()
        scenario.freeze(1000.3).write(tmp_path / "s")
        busy = session.sample()
    assert idle is not None and busy is not None
    uuid = str(gpu.values["uuid"])
    assert [tick.states[uuid] for tick in (idle, busy)] == [
        {"pcie_link_generation": generation, "pcie_link_width": 16} for generation in (1, 5)
    ]
