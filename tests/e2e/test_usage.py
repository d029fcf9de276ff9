"""Who used a GPU: from a process in a control group to the server's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.agent.usage.test_live import JOB, SLURM, needs_own_namespace, running
from tests.e2e.stack import Server, agent, gpufleet, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, h100_sxm

pytestmark = needs_own_namespace
_IDLE = {"util.gpu": 0, "util.encoder": 0, "util.decoder": 0, "gpm.sm_util": 0.0}


def intervals(it: Server, token: str, seconds: float, **which: str) -> list[dict[str, Any]]:
    """The intervals of some holder, once they hold so many seconds of samples."""

    def enough() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = it.get("/usage/intervals", token, **which)["items"]
        return found if sum(each["observed_seconds"] for each in found) >= seconds else None

    return wait_for(f"{seconds} s of {which}", enough, 40)


def test_a_job_and_what_it_left(tmp_path: Path, any_server: Server) -> None:
    """A job has a GPU, over an agent that is killed; when it has ended its GPU is held by nobody."""
    gpu = h100_sxm(0)
    scenario, reader, join = Scenario([gpu]), any_server.token("reader"), any_server.token("join")
    options = (tmp_path, any_server.url, join, environment(tmp_path / "s"), "--interval", "1s")
    with running("cgroup2", JOB, **SLURM) as job:
        gpu.process(job, "train", used=5 << 30, sm=71)
        scenario.write(tmp_path / "s")
        with agent(*options) as process:
            before = sum(each["observed_seconds"] for each in intervals(any_server, reader, 1, job="4711"))
            process.kill()
            process.wait(10)
        with agent(*options):
            found = intervals(any_server, reader, before + 1, job="4711")
            gpu.lines.clear()
            gpu.update(_IDLE | {"fb.used": 7 << 30})
            scenario.write(tmp_path / "s")
            (left,) = intervals(any_server, reader, 1, kind="nobody")
    assert {each["holder"]["account"] for each in found} == {"physics"}
    assert {(each["gpu"], each["memory_most"], each["activity"]) for each in found} == {
        (gpu.values["uuid"], 5 << 30, 0.71)
    }
    assert all(each["active_seconds"] == each["observed_seconds"] and not each["held_seconds"] for each in found)
    assert (left["memory_mean"], left["active_seconds"], left["processes"]) == (7 << 30, 0, 0)
    assert left["held_seconds"] == left["observed_seconds"]
    shown = gpufleet("usage", "--by", "job", "--since", "1h", "--json", "--server", any_server.url, "--token", reader)
    by_job = {item["names"]["job"]: item for item in json.loads(shown)["items"]}
    assert by_job["4711"]["active_share"] == 1
    assert by_job[None]["nobody_seconds"] == by_job[None]["gpu_seconds"] > 0
