"""XIDs from the driver to the screen."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from gpufleet_agent.wire import XID_CONFIRMED

from tests.agent.runtime.kernel_log_file import KernelLogFile
from tests.e2e.stack import Server, agent, gpufleet, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm


def xids(it: Server, token: str) -> list[dict[str, Any]]:
    """The XIDs that `gpufleet events` shows."""
    shown = gpufleet("events", "--kind", "xid", "--json", "--server", it.url, "--token", token)
    return list(json.loads(shown)["items"])


def test_the_same_xid_three_times_is_three_events(tmp_path: Path, fleet_server: Server) -> None:
    """XID 31 three times within a second: three events on the screen, each there long before a report is due."""
    scenario = Scenario([busy(h100_sxm(0)), busy(h100_sxm(1))])
    file = scenario.write(tmp_path / "scenario")
    reader = fleet_server.token("reader")
    with agent(tmp_path, fleet_server.url, fleet_server.token("join"), environment(file), "--interval", "60s"):
        wait_for("the GPUs", lambda: fleet_server.get("/gpus", reader)["total"] == 2)
        first = scenario.now() + 0.5
        happened = [first + 0.3 * number for number in range(3)]
        for at in happened:
            scenario.gpus[1].xid(31, at)
        scenario.write(file)
        wait_for("three XIDs", lambda: len(fleet_server.get("/events", reader, kind="xid")["items"]) == 3, 30)
        shown = sorted(xids(fleet_server, reader), key=lambda event: str(event["at"]))
    assert [event["code"] for event in shown] == [31, 31, 31]
    assert {event["gpu"] for event in shown} == {str(scenario.gpus[1].values["uuid"])}
    committed = [datetime.fromisoformat(event["received_at"]).timestamp() - scenario.epoch for event in shown]
    assert all(0 < there - at < 5 for there, at in zip(committed, happened, strict=True))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[KernelLogFile]:
    """The kernel log of the agent's host."""
    file = KernelLogFile(tmp_path)
    yield file
    file.close()


def test_two_sources_are_one_event(tmp_path: Path, any_server: Server, log: KernelLogFile) -> None:
    """What driver and kernel log both tell is stored once, as of both; what one tells alone is stored too."""
    scenario = Scenario([busy(h100_sxm(0)), busy(h100_sxm(1))])
    file, reader = scenario.write(tmp_path / "scenario"), any_server.token("reader")
    options = (tmp_path, any_server.url, any_server.token("join"), environment(file))
    with agent(*options, root=tmp_path):
        wait_for("the GPUs", lambda: any_server.get("/gpus", reader)["total"] == 2)
        wait_for("its memory", (tmp_path / "agent/kernel-log.json").exists)
        for _ in range(3):
            scenario.gpus[1].xid(31, scenario.now() + 0.3)
        scenario.write(file)
        log.xid(31, "0000:2b:00")
        log.xid(31, "0000:2b:00")
        log.xid(119)
        log.say("nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up")
        found = wait_for("the XIDs", lambda: told(any_server, reader, both=2), 60)
    by_code = {code: [event for event in found if event["code"] == code] for code in (31, 119, 20034)}
    assert {code: len(events) for code, events in by_code.items()} == {31: 3, 119: 1, 20034: 1}
    assert {event["gpu"] for event in by_code[31]} == {str(scenario.gpus[1].values["uuid"])}
    assert sorted(event["source"] for event in by_code[31])[-1] == "nvml"
    confirmed = [event for event in by_code[31] if "," in event["source"]]
    assert all(event["detail"]["sources"] == event["source"].split(", ") for event in confirmed)
    assert all(event["message"].endswith("GPU has fallen off the bus.") for event in confirmed)
    (hung,), (switch,) = by_code[119], by_code[20034]
    assert (hung["gpu"], hung["source"]) == (str(scenario.gpus[0].values["uuid"]), "kernel log")
    assert (switch["kind"], switch["gpu"], switch["detail"]["fatal"]) == ("sxid", None, True)


def test_an_agent_that_was_killed_goes_on_with_the_kernel_log(
    tmp_path: Path, fleet_server: Server, log: KernelLogFile
) -> None:
    """What was logged while it was down is told once, what it had told is not told again."""
    file, reader = Scenario([busy(h100_sxm(0))]).write(tmp_path / "scenario"), fleet_server.token("reader")
    options = (tmp_path, fleet_server.url, fleet_server.token("join"), environment(file))
    with agent(*options, root=tmp_path) as process:
        wait_for("its memory", (tmp_path / "agent/kernel-log.json").exists)
        log.xid(31)
        wait_for("the first", lambda: told(fleet_server, reader))
        process.kill()
        process.wait(60)
    log.xid(79, ago=1)
    log.repeat()
    with agent(*options, root=tmp_path):
        wait_for("the second", lambda: len(told(fleet_server, reader)) > 1)
        log.xid(95)
        found = wait_for("the third", lambda: [e for e in told(fleet_server, reader) if e["code"] == 95])
    assert sorted(event["code"] for event in told(fleet_server, reader)) == [31, 79, 95]
    assert {event["source"] for event in found} == {"kernel log"}


def told(it: Server, token: str, both: int = 0) -> list[dict[str, Any]]:
    """The XIDs and SXIDs of the store, once so many are there that two sources told."""
    found = [item for item in it.get("/events", token)["items"] if item["kind"] in ("xid", "sxid", XID_CONFIRMED)]
    return found if sum("," in item["source"] for item in found) >= both else []
