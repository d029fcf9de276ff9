"""Who used the GPUs, how much, and from when to when."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Query as FromQuery
from gpufleet_agent.wire.usage import HolderKind
from pydantic import AfterValidator, BeforeValidator, Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, NodeName, Number
from gpufleet_server.api.context import Context, Given
from gpufleet_server.api.holders import HolderAnswer, holder
from gpufleet_server.api.parameters import (
    Cursor,
    Limit,
    Models,
    NodesNamed,
    Query,
    Simulated,
    Sites,
    Texts,
    Time,
    known,
    split,
    whole_range,
)
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.queries import usage, usage_intervals
from gpufleet_server.queries.reading import reading
from gpufleet_server.queries.usage import Group, Range
from gpufleet_server.queries.usage_intervals import Interval
from gpufleet_server.queries.usage_parts import DIMENSIONS, UsageFilter

router = APIRouter(prefix="/usage")
_DAY = 86_400 * SECOND


def _dimension(name: str) -> str:
    return known("dimension", list(DIMENSIONS), name)


Dimensions = Annotated[
    list[Annotated[str, AfterValidator(_dimension), Field(json_schema_extra={"enum": list(DIMENSIONS)})]],
    BeforeValidator(split),
    Field(min_length=1, max_length=4, description="what groups are of; may be repeated, or several with commas"),
]


class UsageGroup(Answer):
    """What one user, job, … had. What several had of a GPU at once is divided between them."""

    names: dict[str, str | None] = Field(
        description="what the group is of, by dimension; with a job its cluster, with a pod its namespace and UID, "
        "with a node its id, with a container its name. null: such holders have none"
    )
    holder: str | None = Field(
        description="nobody or unknown, where the group is of these; null for workloads, and where groups are of places"
    )
    gpu_seconds: Number = Field(description="time of whole GPUs, active and held, s")
    active_seconds: Number = Field(description="in which it ran something")
    held_seconds: Number = Field(description="in which it ran nothing, but kept others away")
    nobody_seconds: Number = Field(description="of gpu_seconds, held by nobody the driver lists")
    unknown_seconds: Number = Field(description="of gpu_seconds, of holders that could not be told")
    active_share: Number | None = Field(description="active_seconds / gpu_seconds; null where that is 0")
    memory_mean: Number | None = Field(description="B a GPU, while it was there; null where no driver told")
    memory_most: int | None = Field(description="B, the most on one GPU")
    activity: Number | None = Field(description="mean share of the time in which its kernels ran, 0 to 1")
    observed_seconds: Number = Field(description="in samples while it was there, s: also where it cost nothing")
    gpus: int | None = Field(description="how many different GPUs; null by days, which do not tell")
    nodes: int | None = Field(description="how many different nodes; null by days, which do not tell")
    first: Instant
    last: Instant
    simulated: Number = Field(description="share of gpu_seconds that is of simulated GPUs, 0 to 1")


class UsageTotals(Answer):
    """The GPU time there was, s, whoever had it. Of whole minutes: without that in which the range ends."""

    gpu_seconds: Number = Field(description="of all GPUs owned")
    observed_seconds: Number = Field(description="of these, in samples")
    coverage: Number | None = Field(description="observed_seconds / gpu_seconds")
    active_seconds: Number
    held_seconds: Number
    free_seconds: Number
    unknown_use_seconds: Number = Field(description="in samples that don't tell the use")
    workload_seconds: Number = Field(description="of active and held, that of known workloads")
    nobody_seconds: Number = Field(description="memory was held, and the driver listed no process")
    unknown_seconds: Number = Field(description="it could not be told whose")
    untold_seconds: Number = Field(description="of agents that do not tell who uses their GPUs, or have not yet")


class UsagePage(Answer):
    """Usage by groups, those with most GPU time first."""

    by: list[str]
    since: Instant = Field(
        description="as asked for, or as the first page had it; where by_day the beginning of its day, UTC"
    )
    until: Instant = Field(description="as asked for, or `through` where that is earlier")
    through: Instant = Field(description="all that the servers had received by then is in it")
    by_day: bool = Field(description="of more than 8 days, told by day: GPUs and nodes are not counted")
    totals: UsageTotals | None = Field(
        description="of the sites and models asked for, whatever users or jobs; null where single nodes or GPUs are, "
        "and of less than a minute"
    )
    items: list[UsageGroup]
    next: str | None = Field(description="cursor of the next page; null at the end")


class UsageInterval(Answer):
    """One holder on one GPU without a gap. Cut at midnight UTC."""

    holder: HolderAnswer
    gpu: str = Field(description="UUID")
    partition: str | None = Field(description="UUID of the MIG instance; null for the whole GPU")
    node: NodeName
    site: str | None
    model: str | None
    simulated: bool
    begin: Instant
    end: Instant
    active_seconds: Number = Field(description="time of the whole GPU in which it ran something, s")
    held_seconds: Number = Field(description="time of the whole GPU in which it only kept others away, s")
    observed_seconds: Number = Field(description="in samples, s")
    memory_mean: Number | None = Field(description="B")
    memory_most: int | None = Field(description="B")
    activity: Number | None = Field(description="mean share of the time in which its kernels ran, 0 to 1")
    processes: int = Field(description="how many it had at most")


class IntervalPage(Answer):
    """Intervals that overlap the range, whole, the newest first."""

    since: Instant
    until: Instant
    through: Instant = Field(description="all that the servers had received by then is in it")
    items: list[UsageInterval]
    next: str | None = Field(description="cursor of the next page; null at the end")


class _Which(Query):
    since: Time = Field(None, description="a day before `until` without it")
    until: Time = Field(None, description="before this; now without it")
    site: Sites = Field([])
    node: NodesNamed = Field([])
    model: Models = Field([])
    gpu: Texts = Field([], description="only on this GPU, by UUID or serial; may be repeated")
    simulated: Simulated = None
    user: Texts = Field([], description="name, or number where no name is known; may be repeated")
    account: Texts = Field([], description="Slurm's; may be repeated")
    slurm_partition: Texts = Field([], description="may be repeated")
    namespace: Texts = Field([], description="Kubernetes'; may be repeated")
    kind: list[HolderKind] = Field([], max_length=10, description="may be repeated")
    job: Texts = Field([], description="Slurm's number; may be repeated")
    pod: Texts = Field([], description="name; may be repeated")
    container: Texts = Field([], description="the runtime's id; may be repeated")
    unit: Texts = Field([], description="systemd's; may be repeated")
    command: Texts = Field([], description="a program's name; may be repeated")
    limit: Limit = 100
    cursor: Cursor = None

    def wanted(self) -> UsageFilter:
        """Whose usage, and of what."""
        return UsageFilter(**self.model_dump(include=set(UsageFilter.__dataclass_fields__)))

    def range(self, context: Context, connection: Any, by: list[str] | None = None) -> Range:
        """The time that is asked for, as far as it can be told."""
        now = context.now()
        since, until = whole_range(self.since, self.until, now, _DAY, "since", "until")
        return usage.within(connection, since, until, now, by, self.wanted(), self.cursor)


class UsageQuery(_Which):
    """Whose usage, of what, when, and by what it is added up."""

    by: Dimensions = Field(["user"])


class IntervalsQuery(_Which):
    """Whose intervals, where and when."""


@router.get("", responses=errors.documented())
def usage_groups(context: Given, query: Annotated[UsageQuery, FromQuery()]) -> UsagePage:
    """How much of the GPUs' time each user, job, namespace, node … had. An interval that the range cuts counts in part.

    Simulated GPUs count like others unless `simulated` says otherwise; each group tells its share of them.
    """
    wanted = query.wanted()
    with reading(context.store) as connection:
        when = query.range(context, connection, query.by)
        page = usage.groups(connection, query.by, wanted, when, limit=query.limit, cursor=query.cursor)
        totals = usage.totals(connection, wanted, when)
    return UsagePage(
        by=query.by,
        since=when.since,
        until=when.until,
        through=when.through,
        by_day=when.by_day,
        totals=_totals(totals) if totals is not None else None,
        items=[_group(group) for group in page.items],
        next=page.next,
    )


@router.get("/intervals", responses=errors.documented())
def usage_intervals_listing(context: Given, query: Annotated[IntervalsQuery, FromQuery()]) -> IntervalPage:
    """Who held which GPU from when to when: intervals that overlap the range, whole, the newest first."""
    with reading(context.store) as connection:
        when = query.range(context, connection)
        page = usage_intervals.listing(connection, query.wanted(), when, limit=query.limit, cursor=query.cursor)
    items = _intervals(page.items)
    return IntervalPage(since=when.since, until=when.until, through=when.through, items=items, next=page.next)


def _group(found: Group) -> UsageGroup:
    same = ("names", "holder", "memory_mean", "memory_most", "activity", "gpus", "nodes", "first", "last")
    return UsageGroup(
        gpu_seconds=found.gpu_ms / 1000,
        active_seconds=found.active / 1000,
        held_seconds=found.held / 1000,
        nobody_seconds=found.nobody / 1000,
        unknown_seconds=found.unknown / 1000,
        active_share=found.active / found.gpu_ms if found.gpu_ms else None,
        observed_seconds=found.observed / 1000,
        simulated=found.simulated / found.gpu_ms if found.gpu_ms else 0,
        **{name: getattr(found, name) for name in same},
    )


def _totals(found: usage.Totals) -> UsageTotals:
    return UsageTotals(
        gpu_seconds=found.owned,
        observed_seconds=found.observed,
        coverage=found.coverage,
        active_seconds=found.active,
        held_seconds=found.held,
        free_seconds=found.free,
        unknown_use_seconds=found.unknown_use,
        workload_seconds=found.attributed,
        nobody_seconds=found.nobody,
        unknown_seconds=found.unknown,
        untold_seconds=found.untold,
    )


def _intervals(found: Sequence[Interval]) -> list[UsageInterval]:
    same = (
        *("gpu", "partition", "site", "model", "simulated", "begin", "end"),
        *("memory_mean", "memory_most", "activity", "processes"),
    )
    return [
        UsageInterval(
            holder=holder(each.holder),
            node=NodeName(id=each.node_id, hostname=each.hostname),
            active_seconds=each.active / 1000,
            held_seconds=each.held / 1000,
            observed_seconds=each.observed / 1000,
            **{name: getattr(each, name) for name in same},
        )
        for each in found
    ]
