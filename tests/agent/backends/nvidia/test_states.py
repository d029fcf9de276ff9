"""Every metric that is sent on change, from the simulated driver to the stored integer."""

from __future__ import annotations

from pathlib import Path

from gpufleet_agent.catalogue import BY_NAME, ON_CHANGE

from tests.agent.backends.nvidia.driver import Shown, opened, shown, stated
from tests.nvml_sim.scenario import Device, Scenario, a100_mig, b200, h100_sxm, old_card

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
}


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
    gpu = h100_sxm(2, {"pcie.gen": 3, "pcie.width": 8, "nvlink.4.state": 0, "remap.failed": 1, "retired.pending": 1})
    for page in range(6):
        gpu.retire(4096 * page, 1_600_000_000, double_bit=page > 3)
    got = states(gpu, tmp_path)
    wanted = {metric: gpu.values[field] for metric, field in FIELDS.items()} | {
        "power_limit": shown("power_limit", BY_NAME["power_limit"].store(gpu.values["power_enforced_limit_mw"] / 1000)),  # type: ignore[operator]
        "nvlink_links_up": 17,
        "nvlink_ecc_errors": total(gpu, "nvlink.{}.error.4"),
        "retired_pages_single_bit": 4,
        "retired_pages_double_bit": 2,
        "retirement_pending": 1,
    }
    assert got == wanted
    assert set(got) == {metric.name for metric in ON_CHANGE}
    flags = {"remap_pending", "remap_failed", "retirement_pending"}
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
