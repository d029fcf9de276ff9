"""Processes that are held on to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gpufleet_agent.backends.backend import GpuProcess, ProcessList
from gpufleet_agent.usage.attribution import Attribution
from gpufleet_agent.usage.lives import Lives
from gpufleet_agent.usage.proc import ProcFiles

from tests.agent.process import until


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    """A process."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_who_ends_is_let_go() -> None:
    """And nobody else; no descriptor stays behind."""
    before, lives = descriptors(), Lives()
    with sleeping() as one, sleeping() as other:
        lives.hold(one.pid)
        lives.hold(other.pid)
        assert lives.let_go() == []
        one.kill()
        until(lambda: lives.let_go() == [one.pid])
        assert one.pid not in lives
        assert other.pid in lives
        lives.keep(set())
    assert descriptors() == before


def test_no_such_process_is_not_held() -> None:
    """Its files will say why."""
    lives = Lives()
    with sleeping() as process:
        pass
    lives.hold(process.pid)
    assert process.pid not in lives


@pytest.mark.skipif(ProcFiles().is_namespaced(), reason="needs the machine's own PID namespace")
def test_a_known_process_costs_no_look_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found of it holds while it lives; where the kernel holds none its files are looked at."""
    looked: list[int] = []
    stat = ProcFiles.stat

    def look(self: ProcFiles, pid: int) -> tuple[str, int]:
        looked.append(pid)
        return stat(self, pid)

    monkeypatch.setattr(ProcFiles, "stat", look)
    attribution = Attribution()
    with sleeping() as process:
        lists = [ProcessList("GPU-0", None, (GpuProcess(process.pid, ("compute",), None, None, {}),))]
        first, again = (attribution.look(lists)[process.pid] for _ in range(2))
        assert again is first
        assert looked == [process.pid]
        monkeypatch.setattr(os, "pidfd_open", _refused)
        other = Attribution()
        assert other.look(lists)[process.pid] is other.look(lists)[process.pid]
        assert looked == [process.pid] * 3
    assert attribution.look(lists)[process.pid].holder.absent == {"workload": "the process has ended"}


def _refused(_pid: int) -> int:
    raise PermissionError
