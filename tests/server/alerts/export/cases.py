"""For each rule that is exported to Prometheus: series for which it fires at a time, and some for which it must not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GPU = 'instance="node-1:9400",job="gpu",uuid="GPU-1",index="0",model="H100"'
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


def xid(code: int, other: int) -> Case:
    """A case of the first XID of a code; one of another class, and one of long ago, are no reason to fire."""
    of_code, of_other = (f'gpufleet_gpu_xids_total{{{GPU},xid="{each}"}}' for each in (code, other))
    quiet = {of_code: "1x20", of_other: "_x15 1x5"}
    return Case({of_code: "_x12 1x8"}, quiet, 18, labels(GPU) | {"xid": str(code)})


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
    "xid_restart_app": xid(31, 79),
    "xid_workflow": xid(74, 13),
    "xid_inspect": xid(54, 79),
    "xid_update_software": xid(78, 79),
    "xid_contact_support": xid(142, 62),
}
