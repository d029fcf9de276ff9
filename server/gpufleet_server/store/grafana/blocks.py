"""Views of what is kept as blocks: a row a GPU and sample, hour or day."""

from collections.abc import Iterator, Sequence

from gpufleet_agent.catalogue import EVERY_SAMPLE

from gpufleet_server.store.grafana.fields import metric_column
from gpufleet_server.store.grafana.view import MICROSECOND, SECOND, Column, View, quoted
from gpufleet_server.store.tiers import USES, Tier
from gpufleet_server.store.unpacked import DURATION, ENDED, Subject, points, samples

_USES = {
    "active": "How much of it the GPU was active.",
    "held": "How much of it something held the GPU that did not run.",
    "unknown": "How much of it nobody knows.",
}
# A column, and what it is as SQL.
_Text = tuple[Column, str]


def of_blocks(name: str, help: str, tier: Tier) -> View:
    """A view of a tier; of samples also those that are not sealed yet."""
    first = tuple(_first(tier))
    subject = Subject("gpus", "", tuple(f"{sql} AS {quoted(column.name)}" for column, sql in first), EVERY_SAMPLE)
    select = samples(subject) if tier.step is None else points(tier, subject)
    return View(name, help, (_span(tier), *(column for column, _ in first), *_rest(tier)), select, tier.span)


def _span(tier: Tier) -> Column:
    hours = tier.span // 3_600_000_000
    text = f"When the block of {hours} h begins that it is in: filter by this too, it finds partitions."
    return Column("span", "bigint", text, MICROSECOND)


def _first(tier: Tier) -> Iterator[_Text]:
    at = ENDED if tier.step is None else f"({ENDED} - {tier.step})"
    what = "When the sample ended" if tier.step is None else "When it begins"
    yield Column("at", "bigint", f"{what}, since the epoch.", MICROSECOND), at
    yield Column("ts", "timestamp with time zone", f"{what}: show this."), f"to_timestamp({at} / 1000000::float8)"
    yield Column("duration", "double precision", "How much of it was observed.", SECOND), DURATION
    yield Column("gpu_id", "bigint", "The GPU's number in this store."), "gpus.gpu_id"
    yield Column("gpu", "text", "Its UUID."), "gpus.uuid::text"
    yield Column("node", "text", "Its node's hostname, to be shown."), "nodes.hostname::text"
    yield Column("node_uuid", "text", "What tells the node from others."), "nodes.uuid::text"
    yield Column("position", "integer", "The driver's index, from 0."), "gpus.position"


def _rest(tier: Tier) -> Sequence[Column]:
    uses = USES if tier.step is not None else ()
    seconds = [Column(name, "double precision", _USES[name], SECOND) for name in uses]
    return *seconds, *(metric_column(metric) for metric in EVERY_SAMPLE)
