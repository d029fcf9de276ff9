"""The newest sample of every GPU, as if there were a row a GPU."""

from collections.abc import Sequence

from gpufleet_agent.catalogue import BY_NAME, RESERVED
from sqlalchemy import BigInteger, ColumnElement, Integer, Subquery, cast, func, select

from gpufleet_server.store.schema import gpus
from gpufleet_server.store.tiers import latest


def newest(metrics: Sequence[str]) -> Subquery:
    """Rows of gpu_id, node_id, ts (µs), duration (ms) and these metrics as stored integers, one a GPU that was sampled.

    A metric is NULL where it was absent.
    """
    ts = cast(func.gpufleet_int8(latest.c.ts, gpus.c.slot), BigInteger)
    duration = cast(func.gpufleet_int4(latest.c.durations, gpus.c.slot), Integer)
    query = select(
        gpus.c.gpu_id,
        gpus.c.node_id,
        func.nullif(ts, 0, type_=BigInteger).label("ts"),
        duration.label("duration"),
        *(stored_value(name).label(name) for name in metrics),
    ).join_from(gpus, latest, gpus.c.node_id == latest.c.node_id)
    return query.subquery("newest")


def stored_value(name: str) -> ColumnElement[int]:
    """A metric's stored integer for a row of `gpus` joined with its node's of `latest`; NULL where it is absent."""
    metric = BY_NAME[name]
    stored = getattr(func, f"gpufleet_int{metric.width}")(latest.c[name], gpus.c.slot)
    return func.gpufleet_above(stored, metric.lowest + RESERVED - 1, type_=BigInteger)
