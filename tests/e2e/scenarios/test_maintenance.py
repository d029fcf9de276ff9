"""A driver is updated while the agent is told to leave it alone."""

import re
from pathlib import Path

from tests.e2e.scenarios.stage import House, boards, reporting, seconds_of, uuid


def mapped(pids: list[int]) -> set[int]:
    """Those of these processes that have the driver's library loaded."""
    return {pid for pid in pids if "libnvidia-ml.so" in Path(f"/proc/{pid}/maps").read_text()}


def test_an_update(tmp_path: Path, house: House) -> None:
    """In maintenance since then, with the reason, over a restart of the agent; then the driver has another version."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        before, began = stage.gpus(), house.kernel.now()
        assert stage.process
        agent = stage.process.pid
        assert mapped([agent, *stage.readers()]) == set(stage.readers())
        code, said = stage.agent_says("pause", "--reason", "driver update", "--for", "2h")
        assert (code, said["done"], said["agent"]["reader"]) == (0, True, 0)
        assert stage.readers() == []
        assert mapped([agent]) == set()
        assert not [link for link in Path(f"/proc/{agent}/fd").iterdir() if "nvidia" in str(link.readlink())]

        stage.until("that it is told", stage.knows("in_maintenance"))
        stage.scenario.reload(stage.now(), stage.now() + 60)
        stage.scenario.system.set("driver_version", "590.44.01")
        stage.write()
        stage.pass_time(3600, 600)
        node = stage.node()
        assert (node["state"], node["driver"]["state"]) == ("in_maintenance", "paused")
        assert node["driver"]["detail"].startswith("driver update (until 20")
        assert abs((seconds_of(node["driver"]["since"]) or 0) - began) < 15
        assert stage.states() == dict.fromkeys(before, "in_maintenance")
        assert all(abs((seconds_of(one["at"]) or 0) - began) < 15 for one in stage.gpus().values())
        assert stage.counts() == {"in_maintenance": 2}
        assert not stage.gpus(use="unknown")
        assert "2 in maintenance" in stage.shown("summary", "--site", stage.host)
        assert re.search(r"paused 6\d min: driver update \(until", stage.shown("nodes", "--node", stage.host))
        assert "in maintenance" in stage.shown("top", "--once", "--site", stage.host)
        shown = stage.shown("gpu", uuid(gpus[0]))
        assert "paused since 20" in shown
        # Nobody looks who holds it.
        assert "held by" not in shown

        stage.end()
        with stage.running():
            stage.pass_time(60)
            assert stage.states() == dict.fromkeys(before, "in_maintenance")
            assert stage.node()["driver"]["version"] == "580.95.05"
            assert stage.readers() == []
            code, said = stage.agent_says("status")
            assert (code, said["agent"]["driver"]["state"], said["agent"]["pause"]["reason"]) == (
                0,
                "paused",
                "driver update",
            )
            assert stage.agent_says("resume")[0] == 0
            stage.goes_on()
            assert stage.states() == dict.fromkeys(before, "reporting")
            assert stage.node()["driver"]["version"] == "590.44.01"
        assert stage.told() == ["paused", "resumed", "node_changed"]
        paused, resumed = stage.events("paused", "resumed")
        assert (paused["detail"]["reason"], resumed["detail"]["reason"]) == ("driver update", "driver update")
        assert re.search(r"it was told to; paused for 3[6-9]\d\d s", resumed["message"])


def test_a_gpu_is_taken_out(tmp_path: Path, house: House) -> None:
    """Who pauses may take a GPU: afterwards it is removed, where without a pause it would be lost."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        assert stage.agent_says("pause", "--reason", "VFIO")[0] == 0
        stage.scenario.gpus = gpus[:1]
        stage.write()
        assert stage.agent_says("resume")[0] == 0
        stage.until("what is left", stage.are("reporting"))
        assert stage.counts() == {"reporting": 1, "removed": 1}
        assert not stage.events("gpu_lost")
