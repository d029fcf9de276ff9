"""Reports with usage, and a look at the intervals that come of them."""

import dataclasses
from typing import Any

from gpufleet_agent import wire
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import fold
from sqlalchemy import text

from tests.server.ingest.agents import SECOND, Agent


def slurm(job: str = "4711", user: str | None = "alice", **fields: Any) -> wire.Holder:
    """A step of a Slurm job."""
    return wire.Holder(kind="slurm", uid=1000, user=user, job=job, step="0", **fields)


NOBODY = wire.Holder(kind="nobody")


def piece(
    begin: int, end: int, gpu: str = "GPU-a", holder: int = 0, partition: str | None = None, **fields: Any
) -> wire.Usage:
    """A piece from `begin` to `end` (µs), active for all of it unless `active` and `held` (ms) say otherwise."""
    ms = (end - begin) // 1000
    given = {
        "observed": ms, "active": ms, "held": 0, "memory": 4 << 30, "memory_most": 5 << 30, "activity": 5000,
        "processes": 1,
    }  # fmt: skip
    return wire.Usage(gpu=gpu, partition=partition, holder=holder, begin=begin, end=end, **given | fields)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A row of `usage` as people would tell it: seconds after `since`, ms."""

    gpu: str
    holder: str
    begin: float
    end: float
    observed: int
    active: int
    held: int


def intervals(store: Store, since: int) -> list[Interval]:
    """All intervals, folded now; a holder is named by its job, unit or kind."""
    fold(store, 1 << 62)
    query = text(
        'SELECT g.uuid, coalesce(h.job, h.unit, h.kind), u.begin, u."end", u.observed, u.active, u.held FROM usage u '
        "JOIN holders h USING (holder_id) JOIN gpus g ON g.node_id = u.node_id AND g.slot = u.slot ORDER BY 1, 2, 3"
    )
    with store.reading() as connection:
        return [
            Interval(gpu, holder, (begin - since) / SECOND, (end - since) / SECOND, *sums)
            for gpu, holder, begin, end, *sums in connection.execute(query)
        ]


def using(agent: Agent, *pieces: wire.Usage, holders: list[wire.Holder] | None = None, **fields: Any) -> wire.Report:
    """The next report, with these pieces."""
    return agent.report(holders=holders or [slurm()], usage=list(pieces), **fields)
