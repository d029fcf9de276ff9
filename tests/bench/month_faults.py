"""The faults of the simulated month, with rates and where these come from: published studies, or our choice."""

from collections.abc import Iterable
from random import Random

from gpufleet_agent.wire import Holder
from gpufleet_server.simulate.plan import SimNode, Use

from tests.bench.month_story import (
    CHANGE,
    FIVE,
    HOUR,
    MINUTE,
    ONCE,
    SILENCE,
    SOON,
    TEN,
    Kind,
    Story,
    Turn,
    llama,
    repaired,
)

_GIB = 1 << 30
_ACTIVITY = ("gpu_utilization", "memory_copy_utilization", "encoder_utilization", "decoder_utilization")
_UNITS = ("sm_active", "sm_occupancy", "tensor_active", "dram_active", "fp16_active", "fp32_active", "fp64_active")
_IDLE = dict.fromkeys((*_ACTIVITY, "jpeg_utilization", *_UNITS), 0.0)
_LLAMA = "Llama 3 (16,384 H100, 54 days)"
_OURS = "our choice: no study tells a rate"
_PCIE = "Meta RSC: PCIe is among the top causes, no share"
# Of what no study counts there are so many a month, so that each rule is asked.
_FEW = 4.0
# Failures of nodes a month on 1,250 nodes, of which GPUs cause about so many (Llama 3's, all kinds together).
_RSC = 6.5 / 1000 * 1250 * 30
_BY_GPUS = llama(148 + 72 + 35 + 19 + 17 + 6)


def _linked(node: SimNode) -> bool:
    return node.model.nvlinks >= 12 and node.count == 8


def _modern(node: SimNode) -> bool:
    return "remap_pending" not in node.model.absent and not node.partitioned


def _trains(node: SimNode) -> bool:
    return node.use is Use.TRAINING


def _lost(chance: Random) -> Iterable[Turn]:
    yield Turn(xid=79, lost=True, event=("gpu_lost", "the GPU has fallen off the bus"))
    yield from repaired(chance, 0, event=("gpu_returned", "the GPU answers again"))


def _gone_for_good(chance: Random) -> Iterable[Turn]:
    yield Turn(xid=79, lost=True, event=("gpu_lost", "the GPU has fallen off the bus"))
    first, second = repaired(chance, 0)
    yield first
    yield Turn(after=second.after, sends=True, booted=True, lost=False, there=False, looks=CHANGE)
    yield from repaired(chance, second.after + 24 * HOUR, replaced=True)


def _xid(*codes: int) -> Story:
    def story(chance: Random) -> Iterable[Turn]:
        yield Turn(xid=chance.choice(codes))
        yield from repaired(chance, 0)

    return story


def _uncorrectable(chance: Random) -> Iterable[Turn]:
    new = {"ecc_dram_uncorrected": 1.0, "ecc_dram_uncorrected_volatile": 1.0, "remapped_rows_uncorrectable": 1.0}
    yield Turn(xid=48)
    yield Turn(after=1, xid=63)
    yield Turn(after=30, metrics={**new, "remap_pending": 1.0, "recovery_action": 1.0}, looks=CHANGE)
    yield from repaired(chance, 30)


def _remap_failed(chance: Random) -> Iterable[Turn]:
    new = {"ecc_dram_uncorrected": 9.0, "ecc_dram_uncorrected_volatile": 9.0, "remapped_rows_uncorrectable": 8.0}
    yield Turn(xid=64)
    yield Turn(after=30, metrics={**new, "remap_failed": 1.0, "remap_banks_no_spares": 1.0}, looks=CHANGE)
    yield from repaired(chance, 8 * HOUR, replaced=True)


def _contained(chance: Random) -> Iterable[Turn]:
    yield Turn(xid=94)
    yield Turn(after=40, metrics={"remap_pending": 1.0, "remapped_rows_uncorrectable": 1.0}, looks=CHANGE)
    yield from repaired(chance, 40)


def _sram(chance: Random) -> Iterable[Turn]:
    new = {"ecc_sram_uncorrected": 1.0, "ecc_sram_uncorrected_volatile": 1.0}
    yield Turn(metrics=new, looks=CHANGE)
    worn = chance.random() < 0.2
    yield Turn(after=20 * MINUTE, metrics={"sram_threshold_exceeded": float(worn)}, looks=CHANGE)
    yield from repaired(chance, HOUR, replaced=worn)


def _gsp(chance: Random) -> Iterable[Turn]:
    yield Turn(xid=chance.choice((119, 120)))
    yield Turn(after=12, driver="unresponsive", detail="a driver call has not returned for 10 s while it was read")
    yield from repaired(chance, 12)


def _hang(_: Random) -> Iterable[Turn]:
    yield Turn(driver="unresponsive", detail="a driver call has not returned for 10 s while it was read")
    yield Turn(after=20 * MINUTE, driver="ok", event=("driver_recovered", "the driver answers again after 1200 s"))


def _mismatch(chance: Random) -> Iterable[Turn]:
    said = "Driver/library version mismatch: the NVML library and the kernel module do not match"
    yield Turn(driver="failed", detail=said, event=("driver_failed", said), looks=CHANGE)
    yield from repaired(chance, 0)


def _crash(chance: Random) -> Iterable[Turn]:
    yield Turn(sends=False, looks=SILENCE)
    yield Turn(after=chance.uniform(5 * MINUTE, 3 * HOUR), sends=True, booted=True, looks=ONCE)


def _cut_off(chance: Random) -> Iterable[Turn]:
    yield Turn(sends=False, looks=SILENCE)
    yield Turn(after=chance.uniform(5 * MINUTE, HOUR), sends=True, looks=ONCE)


def _hot(chance: Random) -> Iterable[Turn]:
    hot = {"clock_event_reasons": 64.0, "gpu_temperature": 88.0, "temperature_margin": -1.0, "sm_clock": 900.0}
    yield Turn(metrics={**hot, "clocks_held_by_heat": 100.0}, looks=FIVE)
    yield from repaired(chance, HOUR)


def _near_limit(_: Random) -> Iterable[Turn]:
    yield Turn(all_gpus=True, metrics={"gpu_temperature": 86.0, "temperature_margin": 1.0}, looks=FIVE)
    yield Turn(after=2 * HOUR, all_gpus=True, well=True)


def _braked(_: Random) -> Iterable[Turn]:
    yield Turn(all_gpus=True, metrics={"clock_event_reasons": 128.0, "sm_clock": 600.0}, looks=FIVE)
    yield Turn(after=2 * HOUR, all_gpus=True, well=True)


def _replays(_: Random) -> Iterable[Turn]:
    yield Turn(metrics={"pcie_replays": 90_000.0}, looks=(15.0, 330.0))
    yield Turn(after=HOUR, well=False)


def _narrow(chance: Random) -> Iterable[Turn]:
    busy = {"gpu_utilization": 99.0, "sm_active": 90.0, "performance_state": 0.0}
    yield Turn(metrics={**busy, "pcie_link_width": 4.0}, looks=(15.0, 630.0, 1240.0))
    yield from repaired(chance, 3 * HOUR)


def _link_errors(_: Random) -> Iterable[Turn]:
    yield Turn(metrics={"nvlink_replay_errors": 40.0, "nvlink_recovery_errors": 2.0}, looks=CHANGE)


def _link_down(chance: Random) -> Iterable[Turn]:
    yield Turn(xid=74, metrics={"nvlink_links_up": 17.0, "nvlink_links_down": 4.0}, looks=(15.0, 80.0, 145.0))
    yield from repaired(chance, 0)


def _switch(chance: Random) -> Iterable[Turn]:
    yield Turn(sxid=(20034, True))
    yield from repaired(chance, 0)


def _manager_down(_: Random) -> Iterable[Turn]:
    yield Turn(facts={"fabric_manager": "stopped"}, looks=(15.0, 80.0, 145.0, 210.0))
    yield Turn(after=3 * HOUR, facts={"fabric_manager": "running"})


def _stuck(_: Random) -> Iterable[Turn]:
    yield Turn(metrics={"energy": 0.0}, looks=FIVE)
    yield Turn(after=5 * HOUR, well=True)


def _implausible(_: Random) -> Iterable[Turn]:
    yield Turn(metrics={"sm_active": "implausible"}, looks=TEN)
    yield Turn(after=5 * HOUR, well=True)


def _locked(_: Random) -> Iterable[Turn]:
    low = {"sm_clock": 705.0, "gpu_utilization": 99.0, "sm_active": 95.0, "clock_event_reasons": 0.0}
    yield Turn(metrics={**low, "clocks_held_by_power": 0.0}, looks=(15.0, 630.0, 1240.0))
    yield Turn(after=5 * HOUR, well=True)


def _uncapped(_: Random) -> Iterable[Turn]:
    yield Turn(all_gpus=True, metrics={"power_limit": 450.0}, looks=CHANGE)
    yield Turn(after=8 * HOUR, all_gpus=True, well=True)


def _clock(_: Random) -> Iterable[Turn]:
    yield Turn(clock=40.0, looks=TEN)
    yield Turn(after=6 * HOUR, clock=0.0)


def _spool(_: Random) -> Iterable[Turn]:
    yield Turn(backlog=400, looks=(15.0, 75.0, 600.0, 990.0))
    yield Turn(after=HOUR, backlog=0)


def _held(chance: Random) -> Iterable[Turn]:
    job = Holder(kind="slurm", uid=1000, user="ada", job=str(chance.randrange(10**6, 10**7)), step="0")
    held = {**_IDLE, "compute_processes": 1.0, "fb_used": 30.0 * _GIB}
    # Nothing may be looked at twice in five minutes: an hour's own look may be just before one of these.
    looks = (*SOON, *(minutes * MINUTE for minutes in (61, 67, 122, 128, 134)))
    yield Turn(all_gpus=True, metrics=held, holder=job, looks=looks)
    yield Turn(after=9 * HOUR, all_gpus=True, well=True)


def _left(_: Random) -> Iterable[Turn]:
    idle = dict.fromkeys(("gpu_utilization", "sm_active", "tensor_active", "dram_active", "decoder_utilization"), 0.0)
    more = dict.fromkeys(
        ("memory_copy_utilization", "fp16_active", "fp32_active", "fp64_active", "jpeg_utilization"), 0.0
    )
    kept = {"compute_processes": 0.0, "fb_used": 30.0 * _GIB, "encoder_utilization": 0.0, "sm_occupancy": 0.0}
    yield Turn(metrics={**idle, **more, **kept}, holder=Holder(kind="nobody"), looks=(15.0, 75.0, 300.0, 690.0, 760.0))
    yield Turn(after=4 * HOUR, well=True)


FAULTS = (
    # Half of Llama 3's faulty GPUs fall off the bus here, half ask for a reset: per-XID shares are not published.
    Kind(name="GPU lost", a_month=llama(148) * 0.45, source=f"{_LLAMA}: 148 faulty GPUs", story=_lost,
         finds=("gpu_lost",), within=15, besides=("xid_reboot_node", "xid_after_reboots")),
    Kind(name="GPU lost, and gone after the reboot", a_month=llama(148) * 0.05, source=f"{_LLAMA}: 148 faulty GPUs",
         story=_gone_for_good, finds=("gpu_lost",), within=15,
         besides=("xid_reboot_node", "short_node", "fewer_gpus_than_peers")),
    Kind(name="XID that asks for a reset", a_month=llama(148) * 0.5, source=f"{_LLAMA}: 148 faulty GPUs",
         story=_xid(62, 95, 109, 143, 46), finds=("xid_reset_gpu",), within=15, besides=("xid_after_reboots",)),
    Kind(name="uncorrectable memory error", a_month=llama(72) * 0.75, source=f"{_LLAMA}: 72 of HBM3",
         story=_uncorrectable, finds=("xid_workflow",), within=15, fits=_modern,
         besides=("ecc_uncorrectable", "remap_pending", "recovery_action")),
    Kind(name="row can't be remapped", a_month=llama(72) * 0.1, source=f"{_LLAMA}: 72 of HBM3", story=_remap_failed,
         finds=("remap_failed",), within=3 * MINUTE, fits=_modern,
         besides=("xid_reset_gpu", "ecc_uncorrectable", "remap_threshold")),
    Kind(name="contained memory error", a_month=llama(72) * 0.15, source=f"{_LLAMA}: 72 of HBM3", story=_contained,
         finds=("remap_pending",), within=3 * MINUTE, fits=_modern, besides=("xid_restart_app",)),
    Kind(name="uncorrectable SRAM error", a_month=llama(19), source=f"{_LLAMA}: 19 of SRAM", story=_sram,
         finds=("ecc_uncorrectable",), fits=_modern, besides=("sram_threshold",)),
    Kind(name="GSP error, driver hangs", a_month=llama(17), source=f"{_LLAMA}: 17 of GSP", story=_gsp,
         finds=("driver_unresponsive",), within=30, of_gpu=False, besides=("xid_reset_gpu",)),
    Kind(name="hot GPU, slowed down", a_month=llama(6), source=f"{_LLAMA}: 6 thermal", story=_hot, fits=_trains,
         finds=("thermal_slowdown",), within=6 * MINUTE, besides=("hot_against_limits", "slow_against_peers")),
    Kind(name="rack cut off", a_month=llama(35) * 0.1, source=f"{_LLAMA}: 35 of switches and cables", story=_cut_off,
         finds=("rack_not_reporting",), within=2 * MINUTE, besides=("node_not_reporting",), of_gpu=False, whole="rack"),
    Kind(name="node cut off", a_month=llama(35) * 0.9, source=f"{_LLAMA}: 35 of switches and cables", story=_cut_off,
         finds=("node_not_reporting",), within=2 * MINUTE, of_gpu=False),
    Kind(name="node crashes", a_month=_RSC - _BY_GPUS, story=_crash, of_gpu=False,
         source="Meta RSC-1: 6.50 failures in 1,000 node-days, less those above",
         finds=("node_not_reporting",), within=2 * MINUTE),
    Kind(name="driver hangs for a while", a_month=2 * _FEW, source=_OURS, story=_hang, of_gpu=False,
         finds=("driver_unresponsive",), within=30),
    Kind(name="driver and library differ", a_month=_FEW, source=_OURS, story=_mismatch, of_gpu=False,
         finds=("driver_mismatch",), within=30, besides=("driver_unresponsive",)),
    Kind(name="all GPUs near their limit", a_month=_FEW, source=_OURS, story=_near_limit, of_gpu=False, fits=_linked,
         finds=("hot_against_limits",), within=6 * MINUTE),
    Kind(name="power brake", a_month=_FEW, source=_OURS, story=_braked, of_gpu=False, fits=_trains,
         finds=("power_brake",), within=6 * MINUTE),
    Kind(name="PCIe packets sent again", a_month=_FEW, source=_PCIE, story=_replays,
         finds=("pcie_replays",), within=6 * MINUTE),
    Kind(name="PCIe link narrow", a_month=_FEW, source=_PCIE, story=_narrow,
         finds=("pcie_link",), within=30 * MINUTE, fits=_trains),
    Kind(name="NVLink errors", a_month=3 * _FEW, source=f"Delta: they do not always kill jobs, no rate; {_OURS}",
         story=_link_errors, finds=("nvlink_errors",), fits=_linked),
    Kind(name="NVLink down", a_month=_FEW, source=_OURS, story=_link_down, finds=("nvlink_down",), fits=_linked,
         besides=("xid_workflow",)),
    Kind(name="fatal SXID", a_month=_FEW, source=_OURS, story=_switch, finds=("sxid",), within=15, of_gpu=False,
         fits=_linked),
    Kind(name="Fabric Manager stopped", a_month=_FEW, source="NVSentinel PR 891 tells of one, no rate",
         story=_manager_down, finds=("fabric_manager_down",), within=5 * MINUTE, of_gpu=False, fits=_linked),
    Kind(name="energy counter stands still", a_month=_FEW, source=_OURS, story=_stuck, finds=("energy_counter_stuck",),
         within=7 * MINUTE),
    Kind(name="implausible telemetry", a_month=_FEW, source=f"DCGM #303 tells of it; {_OURS}", story=_implausible,
         finds=("implausible_telemetry",), within=20 * MINUTE, fits=_modern),
    Kind(name="clocks locked low", a_month=_FEW, source=_OURS, story=_locked, finds=("clocks_held_down",),
         within=40 * MINUTE, fits=_trains, besides=("slow_against_peers",)),
    Kind(name="power limit of a node differs", a_month=_FEW, source=_OURS, story=_uncapped, finds=("power_cap",),
         within=90 * MINUTE, of_gpu=False, fits=_trains),
    Kind(name="clock 40 s off", a_month=_FEW, source=_OURS, story=_clock, finds=("clock_off",), within=20 * MINUTE,
         of_gpu=False),
    Kind(name="reports pile up on the node", a_month=_FEW, source=_OURS, story=_spool, finds=("spool_growing",),
         within=25 * MINUTE, of_gpu=False),
    Kind(name="job holds GPUs and runs nothing", a_month=10 * _FEW, source=_OURS, story=_held, finds=("held_idle",),
         within=3 * HOUR, of_gpu=False, fits=_trains, whole="fleet"),
    Kind(name="memory without a process", a_month=_FEW, source=_OURS, story=_left, finds=("memory_without_process",),
         within=20 * MINUTE, fits=_trains),
    Kind(name="XID of a class that is seldom", a_month=2 * _FEW, source=_OURS, story=_xid(54, 78, 92, 144, 165, 12),
         finds=("xid_inspect", "xid_update_software", "xid_watch", "xid_workflow", "xid_unknown",
                "xid_contact_support"), within=15),
)  # fmt: skip
