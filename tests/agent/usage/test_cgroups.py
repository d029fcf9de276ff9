"""Control groups as real nodes have them, and whatever else may stand in their place."""

from __future__ import annotations

import pytest
from gpufleet_agent.usage.cgroups import Workload, of_path, workload
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.usage.recorded import RECORDED, Recorded, v2
from tests.agent.usage.trials import TRIALS

_ID = "0123456789abcdef" * 4
_UID = "8ca306fa_3c03_47fa_97dd_19979c345572"
# What paths are made of, and what resembles it.
_PARTS = st.sampled_from(
    (
        "slurm", "slurmstepd.scope", "system.slice", "uid_1", "job_1", "job_", "job_x", "step_0", "user", "task_0",
        "sEKNKTV3WPV500", "kubepods", "burstable", f"kubepods-pod{_UID}.slice", "pod", f"pod{_UID}", _ID, _ID[:63],
        f"docker-{_ID}.scope", "docker", f"libpod-{_ID}", "lxc", "lxc.payload.", "..", "", "user@1000.service",
        f"a.slice:crio:{_ID}", ":", "x.service", "\udcff",
    )
)  # fmt: skip
_PATHS = st.lists(st.one_of(_PARTS, st.text(max_size=8)), max_size=8).map("/".join)


@pytest.mark.parametrize("recorded", (*RECORDED, *TRIALS), ids=lambda recorded: recorded.name)
def test_recorded_groups(recorded: Recorded) -> None:
    """Every recorded text gives the workload that ran there, and nothing besides."""
    assert workload(recorded.text) == recorded.workload


@given(st.one_of(st.text(), st.lists(_PATHS).map(lambda paths: "".join(f"3:memory:/{path}\n" for path in paths))))
def test_no_text_is_too_strange(text: str) -> None:
    """Whatever the file holds, something of the right shape comes of it."""
    found = workload(text)
    assert found.job is None or found.job.isdecimal()
    assert found.container is None or found.runtime == "lxc" or len(found.container) == 64
    assert found.unit is None or found == Workload(unit=found.unit, owner=found.owner)


@given(_PATHS)
def test_users_cannot_pass_for_others(path: str) -> None:
    """Below a user's slice no name of a group makes it a Slurm job or a pod."""
    found = of_path(f"/user.slice/user-1000.slice/user@1000.service/{path}")
    assert (found.job, found.sluid, found.pod_uid, found.owner) == (None, None, None, 1000)


@given(_PATHS)
def test_what_runs_in_a_pod_stays_in_it(path: str) -> None:
    """A pod that makes groups of its own cannot pass for another pod or container."""
    found = of_path(f"/kubepods/burstable/pod{_UID.replace('_', '-')}/{_ID}/{path}")
    assert (found.pod_uid, found.container) == (_UID.replace("_", "-"), _ID)


def test_the_line_that_tells_most_counts() -> None:
    """In a mixed setup the job of a v1 hierarchy beats the unit of the v2 one."""
    assert workload(v2("/system.slice/slurmd.service") + "4:memory:/slurm/uid_5/job_7/step_0/task_3\n") == Workload(
        job="7", step="0", task="3"
    )
