"""Ways to put a process, or this one, in front of the simulated driver."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml_sim.build import SONAME, build
from tests.nvml_sim.scenario import Scenario

nv: Any = pynvml

VARIABLE = "GPUFLEET_NVML_SIM"


def environment(file: Path, library: Path | None = None) -> dict[str, str]:
    """The whole environment for a subprocess that shall see this scenario file's driver."""
    folders = [str(library or build()), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return os.environ | {VARIABLE: str(file), "LD_LIBRARY_PATH": os.pathsep.join(folders)}


@cache
def preload() -> ctypes.CDLL:
    """Load the library into this process: a later dlopen of its SONAME, as pynvml does, then finds it."""
    return ctypes.CDLL(str(build() / SONAME), mode=ctypes.RTLD_GLOBAL)


@contextmanager
def driver(scenario: Scenario, file: Path) -> Iterator[Path]:
    """This process's pynvml, initialised on the scenario; rewrite the file with Scenario.write to steer it."""
    preload()
    scenario.write(file)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(file)
    nv.nvmlInit()
    try:
        yield file
    finally:
        _leave(before)


def _leave(before: str | None) -> None:
    with suppress(nv.NVMLError):  # a test may leave the driver in any state
        nv.nvmlShutdown()
    os.environ.pop(VARIABLE)
    if before is not None:
        os.environ[VARIABLE] = before


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    """Where a test writes its scenario."""
    return tmp_path / "driver.scenario"
