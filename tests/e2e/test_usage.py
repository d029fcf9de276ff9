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


def wait_for_holder(it: Server, token: str, kind: str, after: str = "") -> str:
    """When such a holder was seen on the GPU, once that is after a time."""

    def seen() -> str | None:
        holders = [holding for found in it.get("/gpus", token)["items"] for holding in found["holders"] or ()]
        return next((one["at"] for one in holders if one["holder"]["kind"] == kind and one["at"] > after), None)

    return wait_for(f"{kind} on the GPU", seen, 40)


def test_a_job_and_what_it_left(tmp_path: Path, any_server: Server) -> None:
    """A job has a GPU, over an agent that is killed; when it has ended its GPU is held by nobody."""
    gpu = h100_sxm(0)
    scenario, reader, join = Scenario([gpu]), any_server.token("reader"), any_server.token("join")
    uuid = str(gpu.values["uuid"])
    options = (tmp_path, any_server.url, join, environment(tmp_path / "s"), "--interval", "1s")
    with running("cgroup2", JOB, **SLURM) as job:
        gpu.process(job, "train", used=5 << 30, sm=71)
        scenario.write(tmp_path / "s")
        with agent(*options) as process:
            first = wait_for_holder(any_server, reader, "slurm")
            process.kill()
            process.wait(60)
        with agent(*options):
            wait_for_holder(any_server, reader, "slurm", first)
            gpu.lines.clear()
            gpu.update(_IDLE | {"fb.used": 7 << 30})
            scenario.write(tmp_path / "s")
            wait_for_holder(any_server, reader, "nobody")

    def folded() -> list[dict[str, Any]] | None:
        items: list[dict[str, Any]] = any_server.get("/usage/intervals", reader)["items"]
        return items if any(each["holder"]["kind"] == "nobody" for each in items) else None

    intervals = wait_for("its intervals", folded, 60)
    (left,) = [each for each in intervals if each["holder"]["kind"] == "nobody"]
    found = [each for each in intervals if each["holder"]["job"] == "4711"]
    assert len(found) + 1 == len(intervals)
    assert {each["holder"]["account"] for each in found} == {"physics"}
    assert {(each["gpu"], each["memory_most"], each["activity"]) for each in found} == {(uuid, 5 << 30, 0.71)}
    assert all(each["active_seconds"] == each["observed_seconds"] and not each["held_seconds"] for each in found)
    assert (left["memory_mean"], left["active_seconds"], left["processes"]) == (7 << 30, 0, 0)
    assert left["held_seconds"] == left["observed_seconds"]
    shown = gpufleet("usage", "--by", "job", "--since", "1h", "--json", "--server", any_server.url, "--token", reader)
    by_job = {item["names"]["job"]: item for item in json.loads(shown)["items"]}
    assert by_job["4711"]["active_share"] == 1
    assert by_job[None]["nobody_seconds"] == by_job[None]["gpu_seconds"] > 0
