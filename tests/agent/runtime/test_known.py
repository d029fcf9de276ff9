"""The GPUs that were told last, on disk."""

from pathlib import Path

import pytest
from gpufleet_agent.runtime.known import KnownGpus
from gpufleet_agent.wire import Gpu

GPUS = [Gpu(uuid="GPU-a", vendor="v", index=0, serial="1"), Gpu(uuid="GPU-b", vendor="v", index=1, state="lost")]


def test_they_are_kept(tmp_path: Path) -> None:
    """As they were, for the next agent."""
    assert KnownGpus(tmp_path).gpus == []
    KnownGpus(tmp_path).note(GPUS)
    assert KnownGpus(tmp_path).gpus == GPUS
    KnownGpus(tmp_path).note([])
    assert KnownGpus(tmp_path).gpus == []


@pytest.mark.parametrize("damage", [b"", b"[1]", b"\xff"])
def test_a_damaged_file_is_none(damage: bytes, tmp_path: Path) -> None:
    """Then nobody is missed."""
    (tmp_path / "gpus.json").write_bytes(damage)
    assert KnownGpus(tmp_path).gpus == []


def test_without_a_disk_they_are_known_all_the_same(tmp_path: Path) -> None:
    """Until the agent ends."""
    known = KnownGpus(tmp_path / "none")
    known.note(GPUS)
    assert known.gpus == GPUS
