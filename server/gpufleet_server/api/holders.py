"""Who holds GPUs, as answers tell it."""

from pydantic import Field

from gpufleet_server.api.answers import Answer, Instant, Number, ReasonText
from gpufleet_server.queries.holder import FIELDS, Holder, Holding


class HolderAnswer(Answer):
    """A workload, as far as its node's agent tells. Fields that are not of its kind are null without a reason."""

    kind: str = Field(
        description="slurm, kubernetes, container or unit; nobody: memory is held and the driver lists no process; "
        "unknown: which processes there are, or whose, can't be told"
    )
    cluster: str | None = Field(
        description="of Slurm jobs: node label slurm_cluster, else the site, else the node's id"
    )
    job: str | None
    step: str | None
    sluid: str | None = Field(description="Slurm's sortable unique id")
    account: str | None
    slurm_partition: str | None
    namespace: str | None
    pod: str | None
    pod_uid: str | None
    container: str | None = Field(description="the runtime's id")
    container_name: str | None
    runtime: str | None
    unit: str | None = Field(description="systemd's")
    user: str | None = Field(
        description="name, or number where no name is known; null in pods, whose ids are their own"
    )
    uid: int | None = Field(description="the user's number on its node")
    command: str | None = Field(description="a program's name, never its arguments")
    absent: dict[str, ReasonText] = Field(description="why a field is null, by field")


class HoldingAnswer(Answer):
    """Who holds a GPU now, and what of it."""

    holder: HolderAnswer
    partition: str | None = Field(description="UUID of the MIG instance; null for the whole GPU")
    at: Instant = Field(description="when the report was made that tells so")
    since: Instant | None = Field(None, description="since when it is there without a gap; not in listings")
    memory: int | None = Field(description="B; null where the driver does not tell")
    activity: Number | None = Field(description="share of the time in which its kernels ran, 0 to 1")
    processes: int = Field(description="how many it had at most")


def holder(found: Holder) -> HolderAnswer:
    """A holder as answers give it."""
    return HolderAnswer(**{name: found.fields[name] for name in FIELDS}, absent=found.absent)


def holding(found: Holding, at: int, *, detailed: bool) -> HoldingAnswer:
    """A holding as of `at` (µs); listings give it without since when."""
    same = ("partition", "memory", "activity", "processes")
    values = {name: getattr(found, name) for name in same} | ({"since": found.begin} if detailed else {})
    return HoldingAnswer(holder=holder(found.holder), at=at, **values)
