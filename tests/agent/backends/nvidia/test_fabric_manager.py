"""The Fabric Manager and the kernel module, found in files below a folder; the program is a real one that is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia import NvidiaBackend, fabric_manager
from gpufleet_agent.backends.nvidia.fabric_manager import FabricManager
from gpufleet_agent.backends.nvidia.kernel_module import module_version

from tests.nvml_sim.fixtures import driver
from tests.nvml_sim.scenario import Scenario, h100_sxm

GROUP = "sys/fs/cgroup/system.slice/nvidia-fabricmanager.service/cgroup.procs"


def put(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    """A file below the root."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    (root / path).chmod(mode)


def install(root: Path, says: str = "echo 'Fabric Manager version is : 580.95.05'") -> None:
    """A program that tells its version, each time noting that it was asked."""
    put(root, "usr/bin/nv-fabricmanager", f'#!/bin/sh\necho "$@" >>{root}/asked\n{says}\n', 0o755)


def test_a_node_without_it(tmp_path: Path) -> None:
    """Most nodes have none: that is no service that is down."""
    for look in (FabricManager(tmp_path).state, FabricManager(tmp_path).version):
        with pytest.raises(Reading, match="unsupported"):
            look()


def test_it_runs_or_it_is_stopped(tmp_path: Path) -> None:
    """By its control group, which is there while systemd runs it, or by its process."""
    install(tmp_path)
    manager = FabricManager(tmp_path)
    assert manager.state() == "stopped"
    put(tmp_path, GROUP, "4711\n")
    assert manager.state() == "running"
    put(tmp_path, GROUP, "")
    assert manager.state() == "stopped"
    put(tmp_path, "run/nvidia-fabricmanager/nv-fabricmanager.pid", "4711\n")
    put(tmp_path, "proc/4711/comm", "sh\n")
    assert manager.state() == "stopped"
    put(tmp_path, "proc/4711/comm", "nv-fabricmanage\n")
    assert manager.state() == "running"


def test_its_version_is_asked_once(tmp_path: Path) -> None:
    """And again when another program lies there."""
    install(tmp_path)
    manager = FabricManager(tmp_path)
    assert [manager.version(), manager.version()] == ["580.95.05"] * 2
    assert (tmp_path / "asked").read_text() == "--version\n"
    install(tmp_path, "echo Version 595.10")
    assert manager.version() == "595.10"


@pytest.mark.parametrize("says", ["exit 1", "sleep 600", "echo nothing of use"])
def test_a_program_that_does_not_tell(says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for a while, then ended; who cannot tell is not asked again."""
    monkeypatch.setattr(fabric_manager, "_PATIENCE", 0.2)
    install(tmp_path, says)
    manager = FabricManager(tmp_path)
    for _ in range(2):
        with pytest.raises(Reading, match="failed"):
            manager.version()
    assert (tmp_path / "asked").read_text() == "--version\n"


def test_a_session_tells_it(tmp_path: Path) -> None:
    """Beside the driver's versions, looked at anew each time."""
    install(tmp_path)
    with driver(Scenario([h100_sxm()]), tmp_path / "s"):
        session = NvidiaBackend(root=tmp_path).open()
        before = session.facts()
        put(tmp_path, GROUP, "4711\n")
        after = session.facts()
        session.close()
    assert [(each.fabric_manager, each.fabric_manager_version) for each in (before, after)] == [
        ("stopped", "580.95.05"),
        ("running", "580.95.05"),
    ]


@pytest.mark.parametrize(
    ("path", "text", "version"),
    [
        ("sys/module/nvidia/version", "580.95.05\n", "580.95.05"),
        (
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version:",
            "535.104.05",
        ),
        (
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)\n",
            "570.86.15",
        ),
        ("proc/driver/nvidia/version", "something else\n", None),
        ("proc/version", "Linux version 6.8.0\n", None),
    ],
)
def test_the_loaded_kernel_module(path: str, text: str, version: str | None, tmp_path: Path) -> None:
    """Also that of the open module, and on kernels that do not tell it in sysfs."""
    put(tmp_path, path, text)
    assert module_version(tmp_path) == version
