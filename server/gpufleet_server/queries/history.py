"""Past rows of `states`: a step function for each metric."""

import dataclasses
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, and_, func, select

from gpufleet_server.queries.buckets import Grid
from gpufleet_server.queries.latest import NOT_OBSERVED, State, newest_states, word
from gpufleet_server.store.schema import states


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """For each metric its states by time."""

    by_metric: Mapping[str, Sequence[State]]

    def at_each(self, metric: str, times: Sequence[int]) -> list[State | None]:
        """What was in force at each time (µs); None before the first that is known."""
        known = self.by_metric.get(metric, ())
        if len(known) <= 1:
            # As most are.
            return [known[0] if known and time >= known[0].ts else None for time in times]
        begins = [state.ts for state in known]
        places = (bisect_right(begins, time) for time in times)
        return [known[place - 1] if place else None for place in places]


def of(connection: Connection, gpu_id: int, metrics: Sequence[str], grid: Grid) -> History:
    """What was in force when the grid starts and at each bucket's end: however often it changed, a row a bucket."""
    if not metrics:
        return History({})
    before = newest_states(connection, [gpu_id], metrics, at=grid.start)
    bucket = (states.c.ts + (grid.step - 1)) // grid.step
    inside = and_(
        states.c.gpu_id == gpu_id, states.c.metric.in_(metrics), states.c.ts > grid.start, states.c.ts <= grid.end
    )
    last = (
        select(states.c.metric, func.max(states.c.ts).label("ts"))
        .where(inside)
        .group_by(states.c.metric, bucket)
        .subquery()
    )
    query = (
        select(states)
        .join(last, and_(states.c.metric == last.c.metric, states.c.ts == last.c.ts))
        .where(states.c.gpu_id == gpu_id)
        .order_by(states.c.ts)
    )
    by_metric = {name: [state] for (_, name), state in before.items()}
    for row in connection.execute(query):
        by_metric.setdefault(row.metric, []).append(State(row.ts, row.value, row.reason))
    return History(by_metric)


def why(state: State | None) -> str:
    """The reason that a state gives for an absent value."""
    return word(state.reason) if state is not None else NOT_OBSERVED
