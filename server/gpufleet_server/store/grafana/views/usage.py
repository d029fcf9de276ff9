"""The view `usage`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import Double, cast, func, literal_column

from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.holder_names import holder_name
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.usage import holders, owners, usage


def _fields() -> Iterator[Field]:
    yield fields.micros("begin_at", "When it begins: filter by this, from a day before on.", usage.c.begin)
    yield fields.micros("end_at", "When it ends, or until when it is known: filter by this too.", usage.c.end)
    yield fields.time("begin_ts", "When it begins.", usage.c.begin)
    yield fields.time("end_ts", "When it ends, or until when it is known.", usage.c.end)
    yield Column("node_id", "bigint", "Its node's number in this store."), usage.c.node_id
    yield from fields.of_node()
    yield from fields.of_place("rack")
    yield from fields.of_gpu()
    yield fields.model()
    yield fields.simulated()
    partition = "The MIG partition's UUID; NULL where it was the whole GPU."
    yield fields.text("partition", partition, func.nullif(usage.c.partition, ""))
    yield Column("holder_id", "bigint", "The workload's number."), usage.c.holder_id
    yield fields.text("holder", "The workload in a few words, such as `alice job 4711` or `ml/train-0`.", holder_name())
    yield from usage_fields.of_owner()
    yield from usage_fields.of_holder()
    yield from usage_fields.times(usage)
    yield from _means()
    yield Column("processes", "integer", "The most processes that it had at once.", Unit.COUNT), usage.c.processes


def _means() -> Iterator[Field]:
    memory = cast(usage.c.memory_sum, Double) * literal_column("1024::float8") / func.nullif(usage.c.memory_ms, 0)
    help = "Memory that it had, on the mean; NULL where it is not known."
    yield Column("memory_mean", "double precision", help, Unit.BYTE), memory
    most = "The most memory that it had; NULL where it is not known."
    yield Column("memory_most", "bigint", most, Unit.BYTE), func.nullif(usage.c.memory_most, -1)
    activity = cast(usage.c.activity_sum, Double) / literal_column("100::float8") / func.nullif(usage.c.activity_ms, 0)
    share = "The share of time in which it had kernels running, on the mean; NULL where it is not known."
    yield Column("activity_mean", "double precision", share, Unit.PERCENT), activity


_OF_GPU = (gpus.c.node_id == usage.c.node_id) & (gpus.c.slot == usage.c.slot)

VIEW = view(
    "usage",
    "An interval in which a workload had a GPU, or a partition of one, cut at midnight UTC: what overlaps a range "
    "began at most a day before it. Ask for single nodes, GPUs or workloads: the fleet has a million a day. Held and "
    "active are of the whole interval. It is one to two minutes behind.",
    _fields(),
    usage.join(nodes, nodes.c.node_id == usage.c.node_id)
    .join(gpus, _OF_GPU)
    .join(holders, holders.c.holder_id == usage.c.holder_id)
    .join(owners, owners.c.owner_id == holders.c.owner_id),
)
