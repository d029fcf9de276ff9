"""For each rule that is exported to Prometheus: series for which it fires at a time, and some for which it must not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GPU = 'instance="node-1:9400",job="gpu",uuid="GPU-1",index="0",model="H100"'
_OTHER = GPU.replace("GPU-1", "GPU-2").replace('index="0"', 'index="1"')
AGENT = 'instance="node-1:9400",job="gpu"'


@dataclass(frozen=True)
class Case:
    """Series → values (promtool's notation), one a minute; with `fires` of them the rule fires at `minutes`.

    With `quiet` it does not. `labels` are those of the alert besides the rule's own.
    """

    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    minutes: int
    labels: Mapping[str, str] = field(default_factory=dict)


def labels(series: str) -> dict[str, str]:
    """The labels as they are written in a series."""
    pairs = (pair.partition("=") for pair in series.split(","))
    return {name: value.strip('"') for name, _, value in pairs}


def gauge(name: str, fires: str, quiet: str, minutes: int) -> Case:
    """A case of one gauge of a GPU."""
    return Case({f"{name}{{{GPU}}}": fires}, {f"{name}{{{GPU}}}": quiet}, minutes, labels(GPU))


def reason(name: str, word: str, fires: str, quiet: str, minutes: int) -> Case:
    """A case of one flag of a metric of flags;."""
    flag, other = (f'{name}{{{GPU},reason="{each}"}}' for each in (word, "idle"))
    return Case({flag: fires}, {flag: quiet, other: "0x30"}, minutes, labels(GPU))


def several(series: Mapping[str, tuple[str, str]], minutes: int) -> Case:
    """A case of several metrics of one GPU, by their names: with which it fires, and with which it does not."""
    names = {name: f"gpufleet_gpu_{name}{{{GPU}}}" for name in series}
    fires, quiet = ({names[name]: both[place] for name, both in series.items()} for place in (0, 1))
    return Case(fires, quiet, minutes, labels(GPU))


def xid(code: int, other: int) -> Case:
    """A case of the first XID of a code; one of another class, and one of long ago, are no reason to fire."""
    of_code, of_other = (f'gpufleet_gpu_xids_total{{{GPU},xid="{each}"}}' for each in (code, other))
    quiet = {of_code: "1x20", of_other: "_x15 1x5"}
    return Case({of_code: "_x12 1x8"}, quiet, 18, labels(GPU) | {"xid": str(code)})


_OTHER = GPU.replace('uuid="GPU-1",index="0"', 'uuid="GPU-2",index="1"')
_TWO = {f"gpufleet_gpu_lost{{{GPU}}}": "0x12", f"gpufleet_gpu_lost{{{_OTHER}}}": "0x5 stale"}


def agent(name: str, fires: str, quiet: str, minutes: int) -> Case:
    """A case of one gauge of an agent about itself."""
    return Case({f"{name}{{{AGENT}}}": fires}, {f"{name}{{{AGENT}}}": quiet}, minutes, labels(AGENT))


_BUILD = f'gpufleet_agent_build_info{{{AGENT},version="0.1.0"}}'

CASES = {
    "gpu_lost": gauge("gpufleet_gpu_lost", "0 1 1", "0 0 0", 2),
    "hot_against_limits": gauge("gpufleet_gpu_temperature_margin_celsius", "2x9", "2x4 3 2x4", 8),
    "remap_pending": gauge("gpufleet_gpu_remap_pending", "0 1 1", "0 0 0", 2),
    "driver_unresponsive": Case(
        {f"gpufleet_agent_driver_up{{{AGENT}}}": "1 0 0"},
        {f"gpufleet_agent_driver_up{{{AGENT}}}": "1 1 1"},
        2,
        labels(AGENT),
    ),
    "node_not_reporting": Case(
        {f"up{{{AGENT}}}": "1 0 0 0 0", _BUILD: "1 stale"},
        # A target that is no agent.
        {f"up{{{AGENT}}}": "1 0 0 0 0"},
        4,
        labels(AGENT),
    ),
    "xid_reboot_node": xid(79, 62),
    "xid_reset_gpu": xid(62, 79),
    "ecc_uncorrectable": gauge("gpufleet_gpu_ecc_dram_uncorrected_volatile", "2 2 3 3", "2 2 2 2", 3),
    "sram_threshold": gauge("gpufleet_gpu_sram_threshold_exceeded", "0 1 1", "0 0 0", 2),
    "remap_failed": gauge("gpufleet_gpu_remap_failed", "0 1 1", "0 0 0", 2),
    "remap_threshold": gauge("gpufleet_gpu_remapped_rows_uncorrectable", "511 512 512", "511 511 511", 2),
    "retirement_pending": gauge("gpufleet_gpu_retirement_pending", "0 1 1", "0 0 0", 2),
    "recovery_action": gauge("gpufleet_gpu_recovery_action", "0 2 2", "0 0 0", 2),
    "nvlink_errors": gauge("gpufleet_gpu_nvlink_recovery_errors", "5x3 7x8", "5x12", 11),
    "nvlink_down": gauge("gpufleet_gpu_nvlink_links_up", "18 18 17 17", "12 12 12 12", 3),
    "fabric_not_registered": gauge("gpufleet_gpu_fabric_state", "1x8", "1x4 3x4", 7),
    "fabric_trouble": reason("gpufleet_gpu_fabric_trouble", "unhealthy route", "1x8", "1x3 0x5", 7),
    "thermal_slowdown": reason("gpufleet_gpu_clock_event_reasons", "hardware thermal slowdown", "1x8", "1x3 0x5", 7),
    "power_brake": reason("gpufleet_gpu_clock_event_reasons", "hardware power brake slowdown", "1x8", "1x3 0x5", 7),
    "retired_pages": several(
        {"retired_pages_single_bit": ("60x3", "60x3"), "retired_pages_double_bit": ("3x3", "2x3")}, 2
    ),
    "pcie_replays": several(
        {
            "pcie_replays": ("0+60x20", "0+20x20"),
            "pcie_link_width": ("16x20", "16x20"),
            # Idle now: what it had is what counts.
            "pcie_link_generation": ("5x3 1x17", "5x3 1x17"),
        },
        20,
    ),
    "pcie_link": several(
        {"pcie_link_width": ("16x3 8x20", "16x3 8x20"), "utilization_ratio": ("0.9x23", "0.1x23")}, 20
    ),
    "energy_counter_stuck": several(
        {"energy_joules_total": ("100x20", "0+600x20"), "power_watts": ("300x20", "300x20")}, 18
    ),
    "implausible_telemetry": several(
        {
            "sm_active_ratio": ("0x20", "_x20"),
            "utilization_ratio": ("1x20", "1x20"),
            "power_watts": ("600x20", "600x20"),
            "power_limit_watts": ("700x20", "700x20"),
        },
        15,
    ),
    "clocks_held_down": several(
        {
            "sm_clock_hertz": ("1.9e9x3 6e8x30", "1.9e9x3 6e8x30"),
            "utilization_ratio": ("0.98x33", "0.98x2 0.05x31"),
        },
        20,
    ),
    "xids_across_node": Case(
        {f'gpufleet_gpu_xids_total{{{each},xid="31"}}': "_x12 1x8" for each in (GPU, _OTHER)},
        {f'gpufleet_gpu_xids_total{{{GPU},xid="{code}"}}': "_x12 1x8" for code in (31, 13)},
        18,
        labels(AGENT) | {"xid": "31"},
    ),
    "xid_restart_app": xid(31, 79),
    "xid_workflow": xid(74, 13),
    "xid_inspect": xid(54, 79),
    "xid_update_software": xid(78, 79),
    "xid_contact_support": xid(142, 62),
    "short_node": Case(
        _TWO | {f"gpufleet_agent_driver_up{{{AGENT}}}": "1x12"},
        # Without its driver a node shows none, or those of before.
        _TWO | {f"gpufleet_agent_driver_up{{{AGENT}}}": "1x5 0x6"},
        9,
        labels(AGENT),
    ),
    "maintenance_too_long": agent("gpufleet_agent_paused", "1x1500", "_x60 1x1440", 1470),
    "spool_growing": agent("gpufleet_agent_spool_reports", "80x20", "80x8 12x12", 18),
    "reports_lost": agent("gpufleet_agent_dropped_reports_total", "0x5 4x10", "4x15", 12),
}
