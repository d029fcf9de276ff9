"""A GPU does far less than the other GPUs of the same job, or runs at a far lower clock: the whole job waits for it.

In a job over many GPUs each step ends when the slowest of them has. What is told: a GPU whose activity is below half of
the median of its job's, or whose clock is below four fifths of it, for half an hour, while the median is busy.

**What to do.**

1. `gpufleet gpu ID` beside one of its neighbours: temperature, power, power limit, clocks and what holds them down,
   link width. A lower power limit or heat explains a lower clock.
2. Nothing there: look at the node: its CPUs, memory, network; a process beside the job.
3. Drain it after the job; the same GPU again in another job is a case for its vendor.

Jobs whose ranks are meant to do different things may do so by this rule: nothing is told where more than a tenth of a
job's GPUs differ. Known are jobs of Slurm, and pods by themselves; GPUs cut into partitions are left out.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, case, func, or_, select

from gpufleet_server.alerts import workload
from gpufleet_server.alerts.limits import PREFIX
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

_METRICS = ("sm_active", "gpu_utilization", "sm_clock", "compute_processes")
_JOB = ("holder_id", "model")
_COMPARED = ("activity", "sm_clock")
_JOBS = ("slurm", "kubernetes", "container")


def _runs_something(gpu: Any) -> ColumnElement[bool]:
    there: ColumnElement[bool] = gpu.compute_processes >= 1
    return there


def _of_jobs(sight: Sight) -> FromClause:
    """The GPUs that one holder has to itself, with what they do; narrow, for there are as many as the fleet has.

    Nothing is joined behind the grouping: how many rows that leaves PostgreSQL can only guess, and guesses few.
    """
    gpu, had = sight.observed(*_METRICS, where=_runs_something), sight.usage(within=900)
    activity = func.coalesce(gpu.c.sm_active, gpu.c.gpu_utilization)
    kept = [gpu.c.gpu_id, gpu.c.model, gpu.c.sm_clock, *(each for each in gpu.c if each.name.startswith(PREFIX))]
    return (
        select(*kept, func.min(activity).label("activity"), func.min(had.c.holder_id).label("holder_id"))
        .join_from(gpu, had, had.c.gpu_id == gpu.c.gpu_id)
        .where(activity.is_not(None), gpu.c.sm_clock.is_not(None))
        .group_by(*kept)
        .having(func.min(had.c.holder_id) == func.max(had.c.holder_id), func.count(had.c.partition) == 0)
        .having(func.min(had.c.kind).in_(_JOBS))
        .subquery("each")
    )


def _beside_medians(each: FromClause) -> FromClause:
    """The same, with how many GPUs of its model its job has, and the medians of these: without a join of so many."""
    job = [each.c[name] for name in _JOB]
    places = [
        func.row_number().over(partition_by=job, order_by=(each.c[name], each.c.gpu_id)).label(f"{name}_place")
        for name in _COMPARED
    ]
    ranked = select(each, *places, func.count().over(partition_by=job).label("gpus")).subquery("ranked")
    middle = (ranked.c.gpus + 1) // 2
    medians = [
        func.max(case((ranked.c[f"{name}_place"] == middle, ranked.c[name])))
        .over(partition_by=[ranked.c[key] for key in _JOB])
        .label(f"usual_{name}")
        for name in _COMPARED
    ]
    return select(ranked, *medians).subquery("beside")


def _condition(sight: Sight) -> Select[Any]:
    beside = _beside_medians(_of_jobs(sight))
    c = beside.c
    is_slow = or_(
        100 * c.activity < c.limit_activity * c.usual_activity, 100 * c.sm_clock < c.limit_clock * c.usual_sm_clock
    )
    slow = (
        select(beside, func.count().over(partition_by=[c[name] for name in _JOB]).label("slow"))
        .where(c.gpus > c.limit_peers, c.usual_activity >= c.limit_busy, is_slow)
        .subquery("slow")
    )
    gpu, had = sight.gpus(), sight.usage(within=900)
    more = (slow.c[name] for name in ("sm_clock", "gpus", "usual_activity", "usual_sm_clock"))
    of_job = (had.c[name] for name in ("user", "job", "namespace"))
    told = sight.about(gpu, slow.c.activity, *more, *of_job, workload.name(had.c).label("who"))
    joined = told.join_from(slow, gpu, gpu.c.gpu_id == slow.c.gpu_id).join(
        had, (had.c.gpu_id == slow.c.gpu_id) & (had.c.holder_id == slow.c.holder_id)
    )
    return joined.where(or_(slow.c.slow == 1, 100 * slow.c.slow <= slow.c.limit_few * slow.c.gpus))


RULE = Rule(
    name="slow_against_peers",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) is active for {value:.0f} % at {sm_clock} MHz, "
    "the {gpus} GPUs of {who} for {usual_activity:.0f} % at {usual_sm_clock} MHz",
    advice="Compare it with a GPU of the same job: heat, power limit, link, its node's CPUs and network.",
    needs=Needs.SAMPLE,
    every=600,
    wait=1800,
    keep=900,
    held_by=("hot_against_limits",),
    thresholds={
        "activity": Threshold(50, "%", "Our choice, of the median: ranks of one job differ by a few per cent."),
        "clock": Threshold(
            80, "%", "Our choice, of the median: clocks of one model differ by some 5 % at the same load."
        ),
        "busy": Threshold(40, "%", "Our choice: below it the whole job waits, for its data or by design."),
        "peers": Threshold(4, "GPUs", "Our choice: with fewer others there is no median."),
        "few": Threshold(10, "%", "Our choice: more of a job's GPUs that differ are a role of their own."),
    },
    labels={"category": "use"},
    source="Llama 3 (16,384 GPUs): single slow GPUs slowed thousands of others down, and were hard to find.",
)
