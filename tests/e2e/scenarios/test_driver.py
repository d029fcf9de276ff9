"""The driver is unloaded and another one is loaded; its library crashes."""

from pathlib import Path

from tests.e2e.scenarios.stage import House, boards, reporting, uuid


def test_a_reload(tmp_path: Path, house: House) -> None:
    """While it is away it is absent since then; afterwards the GPUs are the same, under another version."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        before = stage.gpus()
        began = house.kernel.now()
        stage.scenario.reload(stage.now(), stage.now() + 300)
        stage.write()
        stage.until("that the driver is away", lambda: stage.node()["driver"]["state"] == "absent")
        node = stage.node()
        assert (node["state"], node["driver"]["version"]) == ("driver_failed", "580.95.05")
        assert "not loaded" in node["driver"]["detail"]
        assert stage.counts() == {"driver_failed": 2}
        assert all(one["at"] == before[name]["at"] or one["at"] for name, one in stage.gpus().items())
        stage.scenario.system.set("driver_version", "590.44.01")
        stage.write()
        stage.pass_time(300, 60)
        stage.until("that the driver is back", stage.knows("reporting"))
        stage.goes_on()
        assert stage.node()["driver"]["version"] == "590.44.01"
        assert stage.states() == dict.fromkeys(before, "reporting")
        told = stage.told()
        assert set(told) == {"driver_failed", "driver_absent", "driver_recovered", "node_changed"}
        (changed,) = stage.events("node_changed")
        assert changed["message"] == "driver_version: 580.95.05 → 590.44.01"
        # What the counters lost with the driver is no increment.
        energy = [value for value in stage.series(gpus[0], "energy")["energy"] if value is not None]
        assert 0 <= min(energy) <= max(energy) < 1e6
        assert house.kernel.now() > began + 300


def test_a_crash_of_the_library(tmp_path: Path, house: House) -> None:
    """One event that names the signal; the node reports on, with what it had."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        (reader,) = stage.readers()
        gpus[0].segv("nvmlDeviceGetTemperature*")
        stage.write()
        stage.until("the crash", stage.tells("reader_crashed"))
        gpus[0].lines = [line for line in gpus[0].lines if "segv" not in line]
        stage.write()
        stage.until("that it is read again", stage.tells("driver_recovered"))
        stage.goes_on()
        assert stage.readers() != [reader]
        assert stage.events("reader_crashed")[0]["message"] == "the reader was ended by SIGSEGV"
        assert stage.states() == {uuid(gpu): "reporting" for gpu in gpus}
        assert set(stage.told()) == {"reader_crashed", "driver_recovered"}


def test_a_crash_with_a_gpu(tmp_path: Path, house: House) -> None:
    """A GPU that is not there any more when the driver is opened again is lost, and keeps its place."""
    gpus = boards(2)
    with reporting(tmp_path, house, *gpus) as stage:
        gpus[0].segv("nvmlDeviceGetTemperature*")
        stage.write()
        stage.until("the crash", stage.tells("reader_crashed"))
        gpus[0].lines = [line for line in gpus[0].lines if "segv" not in line]
        gpus[0].lost(0, hidden=True)
        stage.write()
        stage.until("that the GPU is lost", stage.are("lost", "reporting"))
        assert stage.gpu(gpus[0])["serial"] == gpus[0].values["serial"]
        (lost,) = stage.events("gpu_lost")
        assert lost["gpu"] == uuid(gpus[0])
        assert not stage.events("gpu_removed")
