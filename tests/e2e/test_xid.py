"""XIDs from the driver to the screen."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e.stack import Server, agent, gpufleet, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm


def xids(it: Server, token: str) -> list[dict[str, Any]]:
    """The XIDs that `gpufleet events` shows."""
    shown = gpufleet("events", "--kind", "xid", "--json", "--server", it.url, "--token", token)
    return list(json.loads(shown)["items"])


def test_the_same_xid_three_times_is_three_events(tmp_path: Path, fleet_server: Server) -> None:
    """XID 31 three times within a second: three events on the screen, each there within a second of happening."""
    scenario = Scenario([busy(h100_sxm(0)), busy(h100_sxm(1))])
    file = scenario.write(tmp_path / "scenario")
    reader = fleet_server.token("reader")
    with agent(tmp_path, fleet_server.url, fleet_server.token("join"), environment(file), "--interval", "10s"):
        wait_for("the GPUs", lambda: fleet_server.get("/gpus", reader)["total"] == 2)
        first = scenario.now() + 0.5
        happened = [first + 0.3 * number for number in range(3)]
        for at in happened:
            scenario.gpus[1].xid(31, at)
        scenario.write(file)
        wait_for("three XIDs", lambda: len(fleet_server.get("/events", reader, kind="xid")["items"]) == 3, 10)
        shown = sorted(xids(fleet_server, reader), key=lambda event: str(event["at"]))
    assert [event["code"] for event in shown] == [31, 31, 31]
    assert {event["gpu"] for event in shown} == {str(scenario.gpus[1].values["uuid"])}
    committed = [datetime.fromisoformat(event["received_at"]).timestamp() - scenario.epoch for event in shown]
    assert all(0 < there - at < 1 for there, at in zip(committed, happened, strict=True))
