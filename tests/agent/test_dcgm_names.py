"""The DCGM exporter's names: all of them known, labelled and measured as it does, from the simulated driver's truth."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from gpufleet_agent.dcgm_names import SERIES, XID_LAST, XID_TOTAL, render
from gpufleet_agent.runtime.frames import Happened, Opened, ticked
from gpufleet_agent.snapshot import Snapshot
from gpufleet_agent.wire import Driver, Event, Host, Roster, State

from tests.agent.backends.nvidia.driver import opened, sampled_over
from tests.agent.backends.nvidia.test_samples import GROWTH, SECONDS, moving
from tests.agent.dcgm_exporter import DEFAULT, LABELS, OPTIONAL
from tests.nvml_sim.scenario import Device, Scenario, a100_mig, h100_mig, h100_sxm, old_card

MIB = 1 << 20
# Name → fields of the scenario that are added up, and by what the sum is divided.
TRUTH: dict[str, tuple[tuple[str, ...], float]] = {
    "DCGM_FI_DEV_SM_CLOCK": (("clock.sm",), 1),
    "DCGM_FI_DEV_MEM_CLOCK": (("clock.mem",), 1),
    "DCGM_FI_DEV_MEMORY_TEMP": (("memory_temperature_c",), 1),
    "DCGM_FI_DEV_GPU_TEMP": (("temperature_c",), 1),
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": (("power_enforced_limit_mw",), 1000),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": (("pcie.replay",), 1),
    "DCGM_FI_DEV_GPU_UTIL": (("util.gpu",), 1),
    "DCGM_FI_DEV_MEM_COPY_UTIL": (("util.memory",), 1),
    "DCGM_FI_DEV_ENC_UTIL": (("util.encoder",), 1),
    "DCGM_FI_DEV_DEC_UTIL": (("util.decoder",), 1),
    "DCGM_FI_DEV_FB_FREE": (("fb.free",), MIB),
    "DCGM_FI_DEV_FB_USED": (("fb.used",), MIB),
    "DCGM_FI_DEV_FB_RESERVED": (("fb.reserved",), MIB),
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": (("ecc.corrected.volatile.sram", "ecc.corrected.volatile.dram"), 1),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": (("ecc.uncorrected.volatile.sram", "ecc.uncorrected.volatile.dram"), 1),
    "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL": (("ecc.corrected.aggregate.sram", "ecc.corrected.aggregate.dram"), 1),
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": (("ecc.uncorrected.aggregate.sram", "ecc.uncorrected.aggregate.dram"), 1),
    "DCGM_FI_DEV_RETIRED_PENDING": (("retired.pending",), 1),
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": (("field.38",), 1),
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL": (("field.45",), 1),
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL": (("field.52",), 1),
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL": (("field.59",), 1),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": (("remap.uncorrectable",), 1),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": (("remap.correctable",), 1),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": (("remap.failed",), 1),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": (("util.gpu",), 100),
    "DCGM_FI_PROF_SM_ACTIVE": (("gpm.sm_util",), 100),
    "DCGM_FI_PROF_SM_OCCUPANCY": (("gpm.sm_occupancy",), 100),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": (("gpm.any_tensor_util",), 100),
    "DCGM_FI_PROF_DRAM_ACTIVE": (("gpm.dram_bw_util",), 100),
    "DCGM_FI_PROF_PIPE_FP64_ACTIVE": (("gpm.fp64_util",), 100),
    "DCGM_FI_PROF_PIPE_FP32_ACTIVE": (("gpm.fp32_util",), 100),
    "DCGM_FI_PROF_PIPE_FP16_ACTIVE": (("gpm.fp16_util",), 100),
}
# Name → the metrics of GROWTH that are added up, and by what a second's growth is divided.
RATES = {
    "DCGM_FI_PROF_PCIE_TX_BYTES": (("pcie_tx_bytes",), 1),
    "DCGM_FI_PROF_PCIE_RX_BYTES": (("pcie_rx_bytes",), 1),
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": (("nvlink_tx_bytes", "nvlink_rx_bytes"), 1_024_000),
}
# Name → the metric of GROWTH whose growth is added up, in the driver's own unit.
TOTALS = {
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "energy",
    "DCGM_FI_PROF_PCIE_TX_BYTES_TOTAL": "pcie_tx_bytes",
    "DCGM_FI_PROF_PCIE_RX_BYTES_TOTAL": "pcie_rx_bytes",
}
FOUND_OTHERWISE = {
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_RETIRED_SBE",
    "DCGM_FI_DEV_RETIRED_DBE",
}


def looked(gpus: list[Device], tmp_path: Path) -> tuple[Snapshot, float]:
    """What an agent would show of these GPUs, and how long its sample took in seconds."""
    scenario = Scenario([moving(gpu) for gpu in gpus]).freeze(1000.0)
    with opened(scenario, tmp_path / "s") as session:
        tick = ticked(sampled_over(session, scenario, tmp_path / "s", SECONDS))
        host = Host(hostname="node-7", agent_version="0", driver_version=session.facts().driver_version)
        states = [State(1, gpu, name, v) for gpu, found in session.states().items() for name, v in found.items()]
        shown = Snapshot(Roster(host=host, gpus=session.gpus()), Driver(state="ok", since=1), states=states)
        shown.take(Opened(facts=session.facts(), xid_gpus=session.xid_gpus()))
    shown.take(tick)
    return shown, tick.duration / 1000


def number(gpu: Device, field: str) -> float:
    """A value of the scenario."""
    value = gpu.values[field]
    assert isinstance(value, (int, float))
    return float(value)


def series(snapshot: Snapshot, uuid: object) -> dict[str, float]:
    """Name → value of one GPU's series."""
    # prometheus_client's parser would give the exporter's counters a `_total`.
    lines = re.findall(r"^(DCGM_\w+){(.*)} (\S+)$", render(snapshot).decode(), re.MULTILINE)
    return {name: float(value) for name, labels, value in lines if f'UUID="{uuid}"' in labels}


def board_with_everything() -> Device:
    """An H100 that even has retired pages, three of them after a single-bit error and one after a double-bit one."""
    gpu = h100_sxm(0, {"retired.pending": 1, "remap.failed": 1})
    for page in range(4):
        gpu.retire(4096 * page, 1_600_000_000, double_bit=page == 3)
    return gpu


def test_every_value_is_the_drivers_own_in_the_exporters_unit(tmp_path: Path) -> None:
    """MHz, °C, W, mJ, %, MiB, ratios, bytes and thousands of KiB a second: each from the field that DCGM means."""
    gpu = board_with_everything()
    shown, seconds = looked([gpu], tmp_path)
    got = series(shown, gpu.values["uuid"])
    assert set(got) == {one.name for one in SERIES} | {XID_LAST}
    assert set(TRUTH) | set(RATES) | set(TOTALS) | FOUND_OTHERWISE == {one.name for one in SERIES}
    for name, (fields, divisor) in TRUTH.items():
        wanted = sum(number(gpu, field) for field in fields) / divisor
        assert got[name] == pytest.approx(wanted, abs=0.05 if name.endswith("LIMIT") else 1e-4), name
    for name, (metrics, per) in RATES.items():
        grown = sum(rate * factor * SECONDS for metric in metrics for _, rate, factor in GROWTH[metric])
        assert got[name] == pytest.approx(grown / seconds / per, rel=1e-3), name
    for name, metric in TOTALS.items():
        assert got[name] == pytest.approx(GROWTH[metric][0][1] * SECONDS, rel=1e-3), name
    assert got["DCGM_FI_DEV_POWER_USAGE"] == pytest.approx(GROWTH["energy"][0][1] * SECONDS / 1000 / seconds, rel=0.1)
    assert (got["DCGM_FI_DEV_RETIRED_SBE"], got["DCGM_FI_DEV_RETIRED_DBE"]) == (3, 1)


def test_labels_are_the_exporters(tmp_path: Path) -> None:
    """In its order, with the driver's own index, PCI address and model; nothing of gpufleet's."""
    gpu = h100_sxm(0)
    shown, _ = looked([old_card(1), gpu], tmp_path)
    line = next(line for line in render(shown).decode().splitlines() if line.startswith('DCGM_FI_DEV_FB_USED{gpu="1"'))
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
    assert list(labels) == LABELS
    assert labels == {
        "gpu": "1",
        "UUID": gpu.values["uuid"],
        "pci_bus_id": f"00000000:{gpu.values['pci.bus']:02X}:00.0",
        "device": "nvidia1",
        "modelName": "NVIDIA H100 80GB HBM3",
        "Hostname": "node-7",
        "hostname": "node-7",
        "DCGM_FI_DRIVER_VERSION": "580.95.05",
    }


def test_names_and_types_are_the_exporters(tmp_path: Path) -> None:
    """Each name is a row of the exporter's own list, with its type, and no counter got a `_total` of ours."""
    shown, _ = looked([board_with_everything()], tmp_path)
    shown.take(Happened(events=[xid(shown, 31)]))
    types = dict(re.findall(r"^# TYPE (DCGM_\w+) (\w+)$", render(shown).decode(), re.MULTILINE))
    rows = DEFAULT | OPTIONAL
    assert types == {name: rows[name] for name in types}
    assert set(types) == {one.name for one in SERIES} | {XID_LAST, XID_TOTAL}


def test_what_a_gpu_cannot_give_has_no_series(tmp_path: Path) -> None:
    """No zeros: an old card has no profiling, no energy and no ECC, a GPU cut by MIG no utilisation."""
    old, cut = old_card(0), a100_mig(1)
    shown, _ = looked([old, cut], tmp_path)
    of_old, of_cut = (series(shown, gpu.values["uuid"]) for gpu in (old, cut))
    assert {"DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_FB_USED", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"} <= set(of_old)
    assert not {name for name in of_old if re.search("ECC|NVLINK|ENERGY|REMAP|RETIRED|MEMORY_TEMP|PIPE|XID", name)}
    assert not {name for name in of_cut if name.endswith(("_UTIL", "_ACTIVE"))}
    assert 0 not in of_old.values()


def test_a_silent_driver_gives_no_readings(tmp_path: Path) -> None:
    """What is old is not shown as if it were now; totals stay, and the agent says that the driver is down."""
    gpu = h100_sxm(0)
    shown, _ = looked([gpu], tmp_path)
    shown.driver = Driver(state="unresponsive", since=1)
    got = series(shown, gpu.values["uuid"])
    assert "DCGM_FI_DEV_GPU_TEMP" not in got
    assert "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" in got
    assert b"\ngpufleet_agent_driver_up 0\n" in render(shown)


def test_a_cut_gpu_is_shown_by_its_instances(tmp_path: Path) -> None:
    """What instances have of their own is told of each, labelled as the exporter does; the rest once of the GPU."""
    gpu = h100_mig(0)
    shown, _ = looked([gpu], tmp_path)
    lines = render(shown).decode().splitlines()
    used = [line for line in lines if line.startswith("DCGM_FI_DEV_FB_USED{")]
    instances = [re.findall(r'GPU_I_PROFILE="(\S+?)",GPU_I_ID="(\d+)"', line) for line in used]
    assert instances == [[("3g.40gb", "1")], [("2g.20gb", "5")], [("1g.10gb", "11")], [("1g.10gb", "13")]]
    values = [float(line.rsplit(" ", 1)[1]) for line in used]
    assert values == [number(gpu.instances[place], "fb.used") / MIB for place in (0, 2, 3, 4)]
    active = [line for line in lines if line.startswith("DCGM_FI_PROF_GR_ENGINE_ACTIVE{")]
    assert [float(line.rsplit(" ", 1)[1]) for line in active] == [0.03, 0.25, 0.36, 0.47]
    assert list(dict(re.findall(r'(\w+)="([^"]*)"', active[0]))) == [
        *LABELS[:5],
        "GPU_I_PROFILE",
        "GPU_I_ID",
        *LABELS[5:],
    ]
    (power,) = [line for line in lines if line.startswith("DCGM_FI_DEV_POWER_USAGE{")]
    assert "GPU_I_ID" not in power


def xid(shown: Snapshot, code: int) -> Event:
    """An XID of the first GPU."""
    assert shown.roster is not None
    return Event(at=1, kind="xid", gpu=shown.roster.gpus[0].uuid, code=code)


def test_the_last_xid_stays_and_all_are_counted(tmp_path: Path) -> None:
    """0 while there was none; then its number and words, and how often each came."""
    shown, _ = looked([h100_sxm(0)], tmp_path)
    assert 'err_code="0",err_msg="No Error"} 0\n' in render(shown).decode()
    assert XID_TOTAL not in render(shown).decode()
    shown.take(Happened(events=[xid(shown, 31), xid(shown, 31), xid(shown, 79)]))
    page = render(shown).decode()
    assert 'err_code="79",err_msg="GPU has fallen off the bus"} 79\n' in page
    assert re.findall(rf'^{XID_TOTAL}{{.*,xid="(\d+)"}} (\d+)$', page, re.MULTILINE) == [("31", "2"), ("79", "1")]


def test_energy_adds_up(tmp_path: Path) -> None:
    """The counter grows by what each sample brings, in whole mJ."""
    gpu = h100_sxm(0)
    shown, _ = looked([gpu], tmp_path)
    assert shown.tick is not None
    shown.take(shown.tick)
    wanted = 2 * GROWTH["energy"][0][1] * SECONDS
    assert series(shown, gpu.values["uuid"])["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == wanted


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_can_read_it(tmp_path: Path) -> None:
    """It parses; that promtool dislikes the exporter's names (exit code 3) is the exporter's matter."""
    shown, _ = looked([h100_sxm(0), old_card(1)], tmp_path)
    done = subprocess.run(["promtool", "check", "metrics"], input=render(shown), capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    assert not [line for line in done.stdout.decode().splitlines() if line.startswith("gpufleet_")]
