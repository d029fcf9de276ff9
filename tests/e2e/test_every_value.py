"""Every value on its whole way: driver library, agent, server, store, `gpufleet gpu ID --json`."""

import json
from pathlib import Path
from typing import Any

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, METRICS, ON_CHANGE, Kind
from gpufleet_agent.wire import Gpu, Host, Partition

from tests.agent.backends.nvidia import test_identity as identities
from tests.agent.backends.nvidia import test_samples as sampled
from tests.agent.backends.nvidia import test_states as stated
from tests.e2e.stack import Server, agent, gpufleet, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Device, Scenario, a100_mig, b200, h100_sxm, old_card

INCREMENTS = [metric.name for metric in EVERY_SAMPLE if metric.kind is Kind.INCREMENT]
# So many seconds' worth the counters are raised at once; it makes the byte counters grow by whole KiB.
STEP = 0.128


def board_with_everything() -> Device:
    """An H100 that even has a fan and retired pages, with counters that stand still."""
    gpu = stated.newer_links(sampled.moving(h100_sxm(0, {**stated.TELLING, "fan_speed": 91, "pcie.gen": 4})))
    # Where two fields of the model agree, one is moved aside.
    gpu.update({"gpm.sm_util": 13.25, "gpm.any_tensor_util": 33.5, "remap.correctable": 14, "remap.failed": 0})
    gpu.update({"field.230": 11, "pcie.width": 32})
    for page in range(38):
        gpu.retire(4096 * page, 1_600_000_000, double_bit=page >= 18)
    raise_counters(gpu, 10**9, 0)
    return gpu.process(1, "a").process(2, "b").process(3, "c", kind="graphics")


def raise_counters(gpu: Device, start: int, seconds: float) -> None:
    """Set each counter to what it would have grown to from `start` on."""
    for rows in sampled.GROWTH.values():
        gpu.update({field: start + round(rate * seconds) for field, rate, _ in rows})


def states_of(gpu: Device) -> dict[str, Any]:
    """The metrics sent on change of that board, by the scenario."""
    watts = gpu.values["power_enforced_limit_mw"]
    assert isinstance(watts, int)
    return {metric: gpu.values[name] for metric, name in stated.FIELDS.items()} | {
        "power_limit": round(watts / 100) / 10,
        "nvlink_links_up": 17,
        "nvlink_links_down": 1 << 4,
        "nvlink_receive_errors": stated.total(gpu, "field.208.{}"),
        "nvlink_failed_recoveries": stated.total(gpu, "field.214.{}"),
        "nvlink_effective_errors": stated.total(gpu, "field.219.{}"),
        "fabric_trouble": stated.TROUBLE,
        "nvlink_ecc_errors": stated.total(gpu, "nvlink.{}.error.4"),
        "retired_pages_single_bit": 18,
        "retired_pages_double_bit": 20,
        "retirement_pending": 1,
    }


def samples_of(gpu: Device) -> dict[str, Any]:
    """The gauges of that board, by the scenario; those that depend on the true time are looked at apart."""
    found = sampled.expected(gpu) | {"compute_processes": 2}
    return {name: value for name, value in found.items() if name not in ("power", *sampled.HELD, *INCREMENTS)}


def shown(it: Server, token: str, gpu: Device) -> dict[str, Any]:
    """What `gpufleet gpu UUID --json` prints."""
    printed = gpufleet("gpu", str(gpu.values["uuid"]), "--json", "--server", it.url, "--token", token)
    return dict(json.loads(printed))


def raw_sums(it: Server, token: str, gpu: Device) -> dict[str, float]:
    """Each increment summed over all samples that are stored."""
    path = f"/gpus/{gpu.values['uuid']}/samples"
    series = it.get(path, token, step="raw", metrics=",".join(INCREMENTS))["metrics"]
    return {name: sum(value or 0 for value in series[name]["values"]) for name in INCREMENTS}


def test_every_metric_is_the_drivers_own(tmp_path: Path, fleet_server: Server) -> None:
    """Each of the catalogue's metrics reaches the screen as the number the driver gave, which no other has."""
    gpu = board_with_everything()
    scenario = Scenario([gpu])
    scenario.system.set("driver_version", "590.44.01")
    file, reader = scenario.write(tmp_path / "s"), fleet_server.token("reader")
    with agent(tmp_path, fleet_server.url, fleet_server.token("join"), environment(file), "--interval", "1s"):
        wait_for("a sample", lambda: any(item["at"] for item in fleet_server.get("/gpus", reader)["items"]))
        raise_counters(gpu, 10**9, STEP)
        scenario.write(file)
        wait_for("the increments", lambda: raw_sums(fleet_server, reader, gpu)["energy"] > 0, 60)
        sums, got = raw_sums(fleet_server, reader, gpu), shown(fleet_server, reader, gpu)["metrics"]
    assert set(got) == {metric.name for metric in METRICS}
    wanted = samples_of(gpu) | states_of(gpu)
    assert {name: got[name]["value"] for name in wanted} == wanted
    held = {name: got[name]["value"] for name in sampled.HELD}
    assert held == {name: pytest.approx(share, rel=0.3) for name, (_, share) in sampled.HELD.items()}
    assert sums == {
        name: pytest.approx(sum(rate * STEP * factor for _, rate, factor in sampled.GROWTH[name]), rel=1e-12)
        for name in INCREMENTS
    }
    values = [*(got[name]["value"] for name in wanted if BY_NAME[name].unit.name != "FLAG"), *sums.values()]
    assert len(values) == len(set(values))


def test_every_identity_field_is_the_drivers_own(tmp_path: Path, fleet_server: Server) -> None:
    """A board that tells all of itself: each field reaches the screen, and nothing is absent."""
    gpu = b200(3, {**identities.DISTINCT, "nvlink.1.version": 7})
    file, reader = Scenario([gpu]).write(tmp_path / "s"), fleet_server.token("reader")
    with agent(tmp_path, fleet_server.url, fleet_server.token("join"), environment(file)):
        wait_for("the GPU", lambda: fleet_server.get("/gpus", reader)["total"])
        got = shown(fleet_server, reader, gpu)
        node = fleet_server.get(f"/nodes/{got['node']['id']}", reader)
    wanted = identities.expected(gpu) | {"brand": "NVIDIA", "architecture": "Blackwell", "compute_capability": "10.0"}
    wanted["id"] = wanted.pop("uuid")
    assert {name: got[name] for name in wanted} == wanted
    told = set(Gpu.__struct_fields__) - {"uuid"}
    assert told <= set(got)
    assert got["absent"] == {}
    assert set(Host.__struct_fields__) - {"absent"} <= set(node["facts"]) | set(node)
    assert node["driver"]["version"] == "580.95.05"


def test_abilities_side_by_side(tmp_path: Path, fleet_server: Server) -> None:
    """What a GPU cannot give is null with a reason on the screen, nowhere 0; its neighbours give it."""
    gpus = [h100_sxm(0), a100_mig(1), b200(2), old_card(3)]
    file, reader = Scenario(gpus).write(tmp_path / "s"), fleet_server.token("reader")
    with agent(tmp_path, fleet_server.url, fleet_server.token("join"), environment(file), "--interval", "1s"):
        wait_for("four GPUs", lambda: fleet_server.get("/gpus", reader, state="reporting")["total"] == 4)
        wait_for("a sample", lambda: all(item["at"] for item in fleet_server.get("/gpus", reader)["items"]))
        hopper, ampere, blackwell, old = (shown(fleet_server, reader, gpu) for gpu in gpus)
    for name in ("sm_active", "energy", "ecc_dram_corrected", "nvlink_tx_bytes", "memory_temperature"):
        assert (old["metrics"][name]["value"], old["metrics"][name]["reason"]) == (None, "unsupported")
        assert old["metrics"][name]["stored"] is None
        assert blackwell["metrics"][name]["value"] is not None
    assert (ampere["metrics"]["sm_active"]["value"], ampere["metrics"]["gpu_utilization"]["value"]) == (None, None)
    assert hopper["metrics"]["sm_active"]["value"] is not None
    assert (old["serial"], old["absent"]["serial"]) == (None, "unsupported")
    assert not hopper["partitions"]
    first = ampere["partitions"][0]
    assert set(Partition.__struct_fields__) - {"absent"} <= set(first)
    assert len(ampere["partitions"]) == len(gpus[1].instances)
    assert first["uuid"] == gpus[1].instances[0].values["uuid"]


def test_absent_metrics_have_a_reason_each(tmp_path: Path, fleet_server: Server) -> None:
    """On an old card every metric of the catalogue is either a number or null with its reason."""
    gpu = old_card(0)
    file, reader = Scenario([gpu]).write(tmp_path / "s"), fleet_server.token("reader")
    with agent(tmp_path, fleet_server.url, fleet_server.token("join"), environment(file), "--interval", "1s"):
        wait_for("a sample", lambda: any(item["at"] for item in fleet_server.get("/gpus", reader)["items"]))
        got = shown(fleet_server, reader, gpu)["metrics"]
    assert {
        name for name, metric in got.items() if (metric["value"] is None) != (metric["reason"] is not None)
    } == set()
    absent = {name for name, metric in got.items() if metric["value"] is None}
    assert {"pcie_tx_bytes", "sm_active", *(m.name for m in ON_CHANGE if m.name.startswith("ecc_"))} < absent
