"""A GPU that MIG cuts, on its whole way: driver library, agent, server, store, API and commands."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Server, agent, gpufleet, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Device, Scenario, h100_mig, h100_sxm

MIG_CONFIG_CHANGE = 0x100
# Of the five partitions, as shares of the GPU: one slice and two of a GPU instance of three; two; one; one.
SHARES = [1 / 7, 2 / 7, 2 / 7, 1 / 7, 1 / 7]


def number(device: Device, field: str) -> float:
    """A value of the scenario."""
    value = device.values[field]
    assert isinstance(value, (int, float))
    return float(value)


def detail(it: Server, token: str, gpu: Device) -> Any:
    """What the API says of a GPU."""
    return it.get(f"/gpus/{gpu.values['uuid']}", token)


def newest(found: Any, metric: str) -> Any:
    """The newest value of a metric."""
    return found["metrics"][metric]["value"]


@pytest.fixture
def cut() -> Device:
    """An H100 in MIG mode, of whose events the driver tells."""
    gpu = h100_mig(0, {"supported_event_types": 0x1F | MIG_CONFIG_CHANGE})
    gpu.instances[2].process(4711, "train")
    return gpu


def test_partitions_add_up_and_are_counted_once(tmp_path: Path, any_server: Server, cut: Device) -> None:
    """By their shares they make the GPU's activity; the fleet has as many GPUs, watts and bytes as without them."""
    it, whole = any_server, h100_sxm(1)
    scenario = Scenario([cut, whole])
    env = environment(scenario.write(tmp_path / "s"))
    token = it.token("reader")
    uuids = [str(instance.values["uuid"]) for instance in cut.instances]
    with agent(tmp_path, it.url, it.token("join"), env, "--interval", "1"):
        path = f"/gpus/{cut.values['uuid']}"
        wait_for("the GPU", lambda: any(gpu["id"] == path[6:] for gpu in it.get("/gpus", token)["items"]))
        wait_for("its partitions", lambda: newest(detail(it, token, cut)["partitions"][4], "sm_active") is not None)
        found = detail(it, token, cut)
        partitions = found["partitions"]
        assert [part["uuid"] for part in partitions] == uuids
        assert [part["share"] for part in partitions] == pytest.approx(SHARES)
        of_instances = [number(cut.instances[place], "gpm.sm_util") for place in (0, 0, 2, 3, 4)]
        assert [newest(part, "sm_active") for part in partitions] == of_instances
        summed = sum(share * value for share, value in zip(SHARES, of_instances, strict=True))
        assert newest(found, "sm_active") == pytest.approx(summed, abs=0.01)
        assert [newest(part, "fb_used") for part in partitions] == [i.values["fb.used"] for i in cut.instances]
        assert [newest(part, "compute_processes") for part in partitions] == [0, 0, 1, 0, 0]
        assert newest(found, "compute_processes") == 1
        summary = it.get("/summary", token)
        assert summary["gpus"]["total"] == it.get("/gpus", token, use="active")["total"] == 2
        assert summary["memory"]["used"] == number(cut, "fb.used") + number(whole, "fb.used")
        shown = gpufleet("gpu", str(cut.values["uuid"]), "--server", it.url, "--token", token)
        assert any(uuids[2] in line and "25 %" in line and "28.6 %" in line for line in shown.splitlines())
        _reconfigured(it, token, scenario, tmp_path / "s", cut)
    _history(it, token, uuids)


def _reconfigured(it: Server, token: str, scenario: Scenario, file: Path, cut: Device) -> None:
    """One instance is destroyed: its GPU says so, and the others go on."""
    gone = cut.instances.pop()
    cut.event(MIG_CONFIG_CHANGE, 0, scenario.now() + 1.5)
    scenario.write(file)
    wait_for("the new roster", lambda: len(detail(it, token, cut)["partitions"]) == 4)
    events = it.get("/events", token, kind="partition_removed")["items"]
    assert [event["partition"] for event in events] == [gone.values["uuid"]]
    at = detail(it, token, cut)["at"]
    wait_for("the next sample", lambda: detail(it, token, cut)["partitions"][0]["at"] > at)


def _history(it: Server, token: str, uuids: list[str]) -> None:
    """Of a partition that is gone, too; what partitions never have is unsupported, not missing."""
    for uuid, failing in ((uuids[0], set()), (uuids[4], {"failed"})):
        found = it.get(f"/partitions/{uuid}/samples", token, step="raw", metrics="fb_used,power")["metrics"]
        used, why = found["fb_used"]["values"], found["fb_used"].get("reasons", [])
        assert len(set(used) - {None}) == 1
        # From an instance's end until the driver tells of it, it can't be read.
        assert set(why) - {None} <= failing and used == sorted(used, key=lambda value: value is None)
        assert set(found["power"]["reasons"]) == {"unsupported"}
    told = gpufleet(
        *("history", uuids[4], "--metric", "compute_processes", "--since", "10m", "--step", "10m"),
        *("--server", it.url, "--token", token),
    )
    assert uuids[4] in told and "COMPUTE PROCESSES" in told
