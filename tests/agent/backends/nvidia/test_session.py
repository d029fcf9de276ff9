"""Opening the driver, and its end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gpufleet_agent.backends import discover
from gpufleet_agent.backends.backend import DriverAbsent, DriverFacts, DriverGone, Session
from gpufleet_agent.backends.nvidia import BACKEND

from tests.agent.backends.nvidia.driver import opened, sampled
from tests.nvml_sim.build import SONAME, build
from tests.nvml_sim.fixtures import VARIABLE, environment, preload
from tests.nvml_sim.scenario import Scenario, error, h100_sxm

OPEN = """
from gpufleet_agent.backends.backend import DriverAbsent
from gpufleet_agent.backends.nvidia import BACKEND
try:
    session = BACKEND.open()
except DriverAbsent as absent:
    print(absent)
else:
    session.sample(); session.sample(); session.states()
    print([gpu.serial for gpu in session.gpus()])
"""


def run(environ: dict[str, str]) -> str:
    """What a process says that opens the backend."""
    done = subprocess.run([sys.executable, "-c", OPEN], env=environ, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_backend_is_found_without_loading_the_driver() -> None:
    """Looking for vendors costs neither pynvml nor the library."""
    assert discover()["nvidia"] is BACKEND
    code = "import sys; from gpufleet_agent.backends import discover; discover(); print('pynvml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_facts(tmp_path: Path) -> None:
    """The driver's versions, None with the reason where it does not tell."""
    scenario = Scenario()
    scenario.system.values["cuda_driver_version"] = 12_080
    with opened(scenario, tmp_path / "s") as session:
        absent = dict.fromkeys(("fabric_manager", "fabric_manager_version"), "unsupported")
        assert session.facts() == DriverFacts("580.95.05", "13.580.95.05", "12.8", absent)
        scenario.system.values["nvml_version"] = error("no_permission")
        scenario.write(tmp_path / "s")
        assert session.facts() == DriverFacts("580.95.05", None, "12.8", {"nvml_version": "no permission", **absent})


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("driver_not_loaded", "kernel driver is not loaded"),
        ("no_permission", "/dev/nvidiactl"),
        ("unknown", "does not start"),
    ],
)
def test_a_driver_that_does_not_open_says_why(
    code: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that helps."""
    preload()
    monkeypatch.setenv(VARIABLE, str(Scenario().init_error(code).write(tmp_path / "s")))
    with pytest.raises(DriverAbsent, match=said) as raised:
        BACKEND.open()
    assert "\n" not in str(raised.value)


def test_a_library_that_does_not_fit_the_kernel_module(tmp_path: Path) -> None:
    """That is no absent driver: the node has one, and it says which version of it is loaded."""
    library = tmp_path / "libnvidia-ml.so.595.10.03"
    shutil.copy(build() / SONAME, library)
    (tmp_path / SONAME).symlink_to(library.name)
    file = Scenario().init_error("lib_rm_version_mismatch").write(tmp_path / "s")
    code = (
        "from gpufleet_agent.backends.nvidia import BACKEND\ntry: BACKEND.open()\nexcept Exception as e: print(repr(e))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment(file, tmp_path)
    )
    assert done.stdout.startswith("DriverGone(")
    assert "do not match (library 595.10.03" in done.stdout


def test_without_a_library_there_is_no_driver(tmp_path: Path) -> None:
    """The library of the simulation is not on this process's path, and there is no other."""
    environ = environment(tmp_path / "none")
    environ.pop("LD_LIBRARY_PATH")
    assert "libnvidia-ml.so.1 was not found" in run(environ) or Path("/dev/nvidiactl").exists()


def test_an_older_library_lacks_functions_and_that_is_all(tmp_path: Path) -> None:
    """Symbols that an old driver has not are unsupported: neither opening nor reading breaks."""
    gone = ("nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetFieldValues", "nvmlGpmQueryDeviceSupport",
            "nvmlDeviceGetMarginTemperature", "nvmlDeviceGetTemperatureV", "nvmlDeviceGetPlatformInfo",
            "nvmlDeviceGetJpgUtilization", "nvmlDeviceGetSamples", "nvmlDeviceGetComputeRunningProcesses_v3",
            "nvmlDeviceGetCurrentClocksEventReasons", "nvmlEventSetWait_v2", "nvmlDeviceGetPciInfo_v3")  # fmt: skip
    file = Scenario([h100_sxm(0)]).write(tmp_path / "s")
    assert run(environment(file, build(without=gone))) == "['1652324000000']"


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.sample(),
        lambda session: session.states(),
        lambda session: session.gpus(),
        lambda session: session.facts(),
        lambda session: session.wait(1),
    ],
)
def test_a_driver_reload_ends_the_session(use: Callable[[Session], object], tmp_path: Path) -> None:
    """Whatever is asked next says so, during the reload and after it."""
    scenario = Scenario([h100_sxm(0)]).reload(1010, 1020).freeze(1000)
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        for now in (1011, 1021):
            scenario.freeze(now).write(tmp_path / "s")
            with pytest.raises(DriverGone):
                use(session)


def test_a_new_session_follows_a_reload(tmp_path: Path) -> None:
    """Closing the old one does no harm, and the new one begins with a baseline."""
    scenario = Scenario([h100_sxm(0)]).reload(1010, 1020).freeze(1000)
    with opened(scenario, tmp_path / "s") as session:
        scenario.freeze(1021).write(tmp_path / "s")
        session.close()
        again = BACKEND.open()
        assert again.sample() is None
        assert sampled(again).gpus == (scenario.gpus[0].values["uuid"],)
        again.close()


def test_a_whole_call_that_fails_is_not_the_end(tmp_path: Path) -> None:
    """Unknown errors of counting or of the event set leave what is known as it was."""
    scenario = Scenario([h100_sxm(0)])
    with opened(scenario, tmp_path / "s") as session:
        session.sample()
        scenario.system.fail("nvmlDeviceGetCount*", "unknown").fail("nvmlEventSetWait*", "unknown")
        scenario.write(tmp_path / "s")
        assert len(session.gpus()) == 1
        assert session.wait(0.05) == []
        sampled(session)
