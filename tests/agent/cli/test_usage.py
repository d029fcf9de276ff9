"""Who holds a GPU, as `once` prints it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from gpufleet_agent.cli.check import check
from gpufleet_agent.cli.once import once
from gpufleet_agent.cli.usage import lines, said
from gpufleet_agent.config import Config
from gpufleet_agent.usage.holder import GpuUsage, Holder, ProcessUsage

from tests.agent.fake_driver import FakeBackend
from tests.agent.usage.recorded import v2
from tests.agent.usage.tree import Node

# Newer Pythons warn where a process with threads forks the reader.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (Holder(kind="slurm", sluid="sEKNKTV3WPV500", step="batch"), "Slurm job sEKNKTV3WPV500 step batch"),
        (
            Holder(kind="slurm", job="42", account="ml", pod_uid="u", pod="node-0", namespace="slurm"),
            "Slurm job 42 (account ml); pod slurm/node-0",
        ),
        (
            Holder(kind="kubernetes", pod_uid="u-1", container="c" * 64, container_name="worker", runtime="cri-o"),
            "pod u-1; cri-o worker",
        ),
        (Holder(kind="container", container="c" * 64), "container cccccccccccc"),
        (Holder(kind="unit", unit="ray.service"), "ray.service"),
        (Holder(kind="unknown", absent={"workload": "the process has ended"}), "unknown (the process has ended)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_holder_in_words(holder: Holder, words: str) -> None:
    """What a person would call it by, and why it is not known."""
    assert said(holder) == words


def test_the_table() -> None:
    """A line a process; what is absent says why; a partition is named."""
    holder = Holder(kind="unit", unit="ray.service", uid=1000)
    absent = {"memory": "unsupported", "sm": "not observed"}
    process = ProcessUsage(pid=0, kinds=("compute", "mps"), holder=holder, absent=absent)
    shown = list(lines([GpuUsage(gpu="G", partition="MIG-1", processes=(process,)), GpuUsage(gpu="G", reason="lost")]))
    assert shown[0] == "  processes: (lost)"
    assert shown[1].split() == ["PID", "USER", "TYPE", "MEMORY", "SM", "COMMAND", "HOLDER"]
    assert shown[2].split() == [
        "?", "1000", "compute+mps", "(unsupported)", "(not", "observed)", "?", "ray.service", "on", "MIG-1"
    ]  # fmt: skip
    assert list(lines([GpuUsage(gpu="G")])) == ["  no processes"]


def test_once_tells_command_lines_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This test's own process holds both GPUs of the fake driver."""
    (tmp_path / "pids").write_text(str(os.getpid()))
    for asked in (False, True):
        config = Config(state_dir=tmp_path / "state", command_lines=asked)
        assert once(config, True, 20, FakeBackend(tmp_path)) == 0
        for gpu in json.loads(capsys.readouterr().out)["gpus"]:
            (usage,) = gpu["usage"]
            (process,) = usage["processes"]
            assert (process["pid"], process["memory"], usage["reason"]) == (os.getpid(), 1 << 20, None)
            assert (process["command_line"] is not None) == asked


def test_check_says_what_hinders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All is well with the host's processes; what settings keep back; and a PID namespace of its own."""
    node, config = Node(tmp_path), Config(state_dir=tmp_path)
    node.process(v2("/init.scope"), pid=1)
    check(config, False, 20, FakeBackend(tmp_path), tmp_path)
    assert "ok      processes: who uses a GPU can be told" in capsys.readouterr().out
    quiet, by_number = replace(config, usage=False), replace(config, user_names=False)
    for kept, told in ((quiet, "is not told: usage is off"), (by_number, "by number")):
        check(kept, False, 20, FakeBackend(tmp_path), tmp_path)
        assert told in capsys.readouterr().out
    node.namespace(4026532201)
    check(config, False, 20, FakeBackend(tmp_path), tmp_path)
    assert "note    processes: the agent is in a PID namespace of its own" in capsys.readouterr().out
