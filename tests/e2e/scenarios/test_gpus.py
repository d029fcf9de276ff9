"""GPUs fall off the bus, come back, and are replaced."""

import re
from pathlib import Path

from tests.e2e.scenarios.stage import House, Stage, boards, reporting, seconds_of, uuid
from tests.nvml_sim.scenario import Device


def back(stage: Stage, *gpus: Device) -> None:
    """Have them answer again."""
    for gpu in gpus:
        gpu.lines = [line for line in gpu.lines if not line.startswith("lost")]
    stage.write()


def test_one_is_lost_and_comes_back(tmp_path: Path, house: House) -> None:
    """It is lost since a time, with its XID and its identity, the others report on; then it is the same GPU again."""
    gpus = boards(3)
    with reporting(tmp_path, house, *gpus) as stage:
        began = house.kernel.now()
        gpus[1].lost(stage.now()).xid(79, stage.now())
        stage.write()
        stage.until("that it is lost", stage.are("reporting", "lost", "reporting"))
        stage.until("a sample without it", lambda: stage.gpu(gpus[1])["metrics"]["power"]["reason"] == "lost")
        stage.pass_time(300, 60)
        shown = stage.gpu(gpus[1])
        assert (shown["index"], shown["serial"]) == (1, gpus[1].values["serial"])
        assert (shown["metrics"]["power"]["value"], shown["metrics"]["power"]["reason"]) == (None, "lost")
        assert abs((seconds_of(shown["at"]) or 0) - began) < 15
        assert stage.counts() == {"reporting": 2, "lost": 1}
        assert stage.node()["state"] == "reporting"
        assert "lost" in stage.shown("gpus", "--node", stage.host, "--state", "lost")
        assert re.search(r"last sample +[56] min ago", stage.shown("gpu", uuid(gpus[1])))
        back(stage, gpus[1])
        stage.pass_time(60)
        stage.until("that it is back", stage.are("reporting", "reporting", "reporting"))
        stage.goes_on()
        told = [(event["kind"], event["gpu"]) for event in stage.events("gpu_lost", "xid", "gpu_returned")]
        assert sorted(told[:2]) == [("gpu_lost", uuid(gpus[1])), ("xid", uuid(gpus[1]))]
        assert told[2:] == [("gpu_returned", uuid(gpus[1]))]
        assert set(stage.told()) == {"gpu_lost", "xid", "gpu_returned"}


def test_one_is_replaced(tmp_path: Path, house: House) -> None:
    """Another board in the slot is another GPU: the old one is removed, and neither has the other's samples."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        old, began = uuid(gpus[1]), stage.now()
        gpus[1].lost(began, began + 60).at(began + 60, "uuid", "GPU-new").at(began + 60, "serial", "1999")
        gpus[1].at(began + 60, "energy_mj", 5)
        stage.write()
        stage.until("that it is lost", stage.are("reporting", "lost"))
        stage.pass_time(120)
        stage.until("the other one", lambda: "GPU-new" in stage.gpus())
        stage.until("that it reports", stage.are("reporting", "reporting"))
        new = stage.gpus()["GPU-new"]
        assert (new["serial"], new["index"], new["pci_address"]) == ("1999", 1, stage.gpu(gpus[1])["pci_address"])
        removed = stage.gpu(gpus[1])
        assert (removed["state"], removed["serial"]) == ("removed", gpus[1].values["serial"])
        assert stage.counts() == {"reporting": 2, "removed": 1}
        told = [(event["kind"], event["gpu"]) for event in stage.events("gpu_lost", "gpu_added", "gpu_removed")]
        assert told[0] == ("gpu_lost", old)
        assert sorted(told[1:]) == [("gpu_added", "GPU-new"), ("gpu_removed", old)]
        stage.goes_on()
        since = seconds_of(new["at"]) or 0
        assert (seconds_of(removed["at"]) or 0) < since


def test_all_are_lost(tmp_path: Path, house: House) -> None:
    """The node reports, and owns as many as before, also when its agent is started anew; then they are back."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        for gpu in gpus:
            gpu.lost(stage.now())
        stage.write()
        stage.until("that they are lost", stage.are("lost", "lost"))
        stage.pass_time(60)
        assert stage.node()["state"] == "reporting"
        stage.end()
        with stage.running():
            began = house.kernel.now()
            stage.until("a report of the new one", lambda: (seconds_of(stage.node()["last_seen"]) or 0) > began + 5)
            assert stage.states() == {uuid(gpu): "lost" for gpu in gpus}
            assert stage.counts() == {"lost": 2}
            back(stage, *gpus)
            stage.pass_time(60)
            stage.until("that they are back", stage.are("reporting", "reporting"))
            stage.goes_on()
        assert sorted(stage.told()) == ["gpu_lost", "gpu_lost", "gpu_returned", "gpu_returned"]
