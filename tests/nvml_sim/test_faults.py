"""What goes wrong in a driver goes wrong in the simulated one, as pynvml sees it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml_sim.fixtures import VARIABLE, driver, environment, preload
from tests.nvml_sim.models import h100_sxm
from tests.nvml_sim.readings import read
from tests.nvml_sim.scenario import Scenario, error

nv: Any = pynvml


def test_errors_by_call_field_and_time(tmp_path: Path) -> None:
    """A code can stand for a value, a function, a family of functions or a field, and for a while only."""
    gpu = h100_sxm(0, {"temperature_c": error("unknown")}).fail("nvmlDeviceGetPower*", "no_permission")
    gpu.fail("energy_mj", "timeout", 5, 6).at(7, "energy_mj", error("gpu_is_lost"))
    scenario = Scenario([gpu, h100_sxm(1)]).freeze(5)
    with driver(scenario, tmp_path / "s") as file:
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        for name, raised in (
            ("temperature_c", nv.NVMLError_Unknown),
            ("power_usage_mw", nv.NVMLError_NoPermission),
            ("energy_mj", nv.NVMLError_Timeout),
        ):
            with pytest.raises(raised):
                read(handle, name)
        assert read(nv.nvmlDeviceGetHandleByIndex(1), "power_usage_mw") > 0
        scenario.freeze(6).write(file)
        assert read(handle, "energy_mj") == gpu.values["energy_mj"]
        scenario.freeze(7).write(file)
        with pytest.raises(nv.NVMLError_GpuIsLost):
            read(handle, "energy_mj")


def test_field_values_fail_one_by_one(tmp_path: Path) -> None:
    """The call succeeds; each field has its own code and type, and the wrong link is no link."""
    with driver(Scenario([h100_sxm(0, {"energy_mj": error("no_permission")})]), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        values = nv.nvmlDeviceGetFieldValues(handle, [83, 82, 193, 251, (138, 3), (138, 99)])
        assert [v.nvmlReturn for v in values] == [4, 0, 0, 3, 0, 3]
        assert [values[k].valueType for k in (1, 2, 4)] == [1, 5, 3]
        assert values[2].value.siVal < 0


@pytest.mark.parametrize("hidden", [False, True])
def test_a_gpu_falls_off_the_bus_and_another_comes_back(hidden: bool, tmp_path: Path) -> None:
    """While lost every call says so; hidden it is not counted either; the one that returns has another serial."""
    gpu = h100_sxm(1).lost(10, 20, hidden=hidden).at(20, "serial", "1999").at(20, "uuid", "GPU-new")
    scenario = Scenario([h100_sxm(0), gpu, h100_sxm(2)]).freeze(0)
    with driver(scenario, tmp_path / "s") as file:
        handle, last = nv.nvmlDeviceGetHandleByIndex(1), nv.nvmlDeviceGetHandleByIndex(2)
        scenario.freeze(10).write(file)
        for name in ("uuid", "power_usage_mw", "field.197", "nvlink.0.state"):
            with pytest.raises(nv.NVMLError_GpuIsLost):
                read(handle, name)
        assert nv.nvmlDeviceGetCount() == (2 if hidden else 3)
        assert nv.nvmlDeviceGetIndex(last) == (1 if hidden else 2)
        with pytest.raises(nv.NVMLError_InvalidArgument if hidden else nv.NVMLError_GpuIsLost):
            nv.nvmlDeviceGetHandleByIndex(2 if hidden else 1)
        scenario.freeze(20).write(file)
        assert (read(handle, "serial"), read(handle, "uuid"), nv.nvmlDeviceGetCount()) == ("1999", "GPU-new", 3)


def test_driver_reload(tmp_path: Path) -> None:
    """During the reload nothing works, nvmlInit neither; afterwards old handles need a new nvmlInit."""
    scenario = Scenario([h100_sxm()]).reload(10, 20).freeze(9)
    with driver(scenario, tmp_path / "s") as file:
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        scenario.freeze(10).write(file)
        with pytest.raises(nv.NVMLError_DriverNotLoaded):
            nv.nvmlInit()
        for now in (10, 20):
            scenario.freeze(now).write(file)
            with pytest.raises(nv.NVMLError_Uninitialized):
                read(handle, "uuid")
        nv.nvmlInit()
        assert read(handle, "uuid") == scenario.gpus[0].values["uuid"]


@pytest.mark.parametrize("code", ["driver_not_loaded", "no_permission", "lib_rm_version_mismatch", "unknown"])
def test_init_fails(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """nvmlInit can give any code."""
    preload()
    monkeypatch.setenv(VARIABLE, str(Scenario().init_error(code).write(tmp_path / "s")))
    with pytest.raises(nv.NVMLError) as raised:
        nv.nvmlInit()
    assert raised.value.value == getattr(nv, f"NVML_ERROR_{code.upper()}")


def run(file: Path, code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run Python in front of the driver with the first GPU's handle as h."""
    head = "from pynvml import *; nvmlInit(); h = nvmlDeviceGetHandleByIndex(0)\n"
    return subprocess.run(
        [sys.executable, "-c", head + code],
        env=environment(file),
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_process_finds_it_by_its_path(tmp_path: Path) -> None:
    """An unmodified process needs two environment variables only."""
    gpu = h100_sxm(4)
    ran = run(Scenario([gpu]).write(tmp_path / "s"), "print(nvmlDeviceGetSerial(h))")
    assert ran.stdout.strip() == gpu.values["serial"]


def test_without_a_scenario_there_is_no_driver(tmp_path: Path) -> None:
    """No file: DriverNotLoaded. A bad file: the reason on stderr."""
    assert "NVMLError_DriverNotLoaded" in run(tmp_path / "none", "").stderr
    bad = tmp_path / "bad"
    bad.write_text("epoch 0\ngpu 0\nset power_usage_mw wobbly 3\n")
    assert f"{bad}:3: no such kind of value" in run(bad, "").stderr


def test_a_call_hangs_until_the_scenario_lets_go(tmp_path: Path) -> None:
    """The hanging call holds no lock, SIGTERM to Python does not end it, a rewritten scenario does."""
    scenario = Scenario([h100_sxm().hang("nvmlDeviceGetPowerUsage")])
    file = scenario.write(tmp_path / "s")
    code = (
        "import signal, threading; signal.signal(signal.SIGTERM, lambda *a: print('told'))\n"
        "threading.Timer(0.1, lambda: print(nvmlDeviceGetName(h), flush=True)).start()\n"
        "nvmlDeviceGetPowerUsage(h); print('free')"
    )
    head = "from pynvml import *; nvmlInit(); h = nvmlDeviceGetHandleByIndex(0)\n"
    with subprocess.Popen([sys.executable, "-c", head + code], env=environment(file), stdout=subprocess.PIPE) as hung:
        assert hung.stdout
        assert hung.stdout.readline() == b"NVIDIA H100 80GB HBM3\n"
        hung.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert hung.poll() is None
        scenario.gpus = [h100_sxm()]
        scenario.write(file)
        assert hung.stdout.read().split() == [b"told", b"free"]


def test_a_hang_ends_at_its_time(tmp_path: Path) -> None:
    """A hang with an end sleeps that long and then answers."""
    gpu = h100_sxm().hang("*", 0, 0.2)
    scenario = Scenario([gpu])
    with driver(scenario, tmp_path / "s"):
        assert read(nv.nvmlDeviceGetHandleByIndex(0), "power_usage_mw") == gpu.values["power_usage_mw"]
        assert scenario.now() >= 0.2


def test_a_call_kills_the_process(tmp_path: Path) -> None:
    """A segv is one."""
    file = Scenario([h100_sxm().segv("nvmlDeviceGetSerial")]).write(tmp_path / "s")
    assert run(file, "nvmlDeviceGetUUID(h); nvmlDeviceGetSerial(h)").returncode == -signal.SIGSEGV


def test_calls_are_cheap(tmp_path: Path) -> None:
    """A call through pynvml costs microseconds, or benchmarks would measure the simulation."""
    with driver(Scenario([h100_sxm(index) for index in range(8)]), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        before = time.process_time()
        for _ in range(2000):
            nv.nvmlDeviceGetPowerUsage(handle)
        assert (time.process_time() - before) / 2000 < 50e-6
