"""What a new session makes of the GPUs that the one before it told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from gpufleet_agent.backends.backend import Session
from gpufleet_agent.backends.nvidia import NvidiaBackend
from gpufleet_agent.wire import Gpu

from tests.agent.backends.nvidia.driver import of_gpu, opened, sampled
from tests.nvml_sim.fixtures import VARIABLE
from tests.nvml_sim.scenario import Device, Scenario, h100_sxm


def told(gpus: list[Device], file: Path) -> list[Gpu]:
    """What a session tells of these."""
    with opened(Scenario([*gpus]), file) as session:
        return session.gpus()


@contextmanager
def following(known: list[Gpu], gpus: list[Device], file: Path) -> Iterator[Session]:
    """A session that finds these GPUs after one that told those."""
    os.environ[VARIABLE] = str(Scenario([*gpus]).write(file))
    session = NvidiaBackend(probe_every=0).open(known)
    try:
        yield session
    finally:
        session.close()
        os.environ.pop(VARIABLE)


@pytest.mark.parametrize("hidden", [False, True])
def test_one_that_is_not_found_is_lost(hidden: bool, tmp_path: Path) -> None:
    """Once by an event, with all that was known of it; not as a GPU without a name beside it."""
    gpus = [h100_sxm(0), h100_sxm(1)]
    known = told(gpus, tmp_path / "s")
    gpus[0].lost(0, hidden=hidden)
    with following(known, gpus, tmp_path / "s") as session:
        lost = msgspec.structs.replace(known[0], state="lost")
        assert sorted(session.gpus(), key=lambda gpu: gpu.uuid) == [
            lost,
            msgspec.structs.replace(known[1], index=1 - hidden),
        ]
        session.sample()
        tick = sampled(session)
        assert of_gpu(tick, tick.gpus.index(known[0].uuid))["power"] == "lost"
        assert [(event.kind, event.gpu) for event in session.wait(0)] == [("gpu_lost", known[0].uuid)]
        again = session.gpus()
    with following(again, gpus, tmp_path / "s") as session:
        assert session.wait(0) == []
    gpus[0].lines.clear()
    with following(again, gpus, tmp_path / "s") as session:
        assert session.gpus() == known
        assert [(event.kind, event.gpu) for event in session.wait(0)] == [("gpu_returned", known[0].uuid)]


def test_one_that_was_replaced_is_gone(tmp_path: Path) -> None:
    """Another board answers at its address: what was there was lost, and is not there any more."""
    known = told([h100_sxm(0)], tmp_path / "s")
    other = h100_sxm(0).update({"uuid": "GPU-new", "serial": "1999"})
    with following(known, [other], tmp_path / "s") as session:
        assert [gpu.uuid for gpu in session.gpus()] == ["GPU-new"]
        assert [(event.kind, event.gpu) for event in session.wait(0)] == [("gpu_lost", known[0].uuid)]


def test_all_that_are_found_are_no_news(tmp_path: Path) -> None:
    """Nor are those that nobody knew."""
    gpus = [h100_sxm(0), h100_sxm(1)]
    known = told(gpus, tmp_path / "s")
    with following(known[:1], gpus, tmp_path / "s") as session:
        assert (session.gpus(), session.wait(0)) == (known, [])
