"""Past rows of `states`: a step function for each metric."""

import dataclasses
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence

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
        if not known or not times:
            return [None] * len(times)
        if min(times) >= known[-1].ts:
            # As most are: in force all the while.
            return [known[-1]] * len(times)
        begins = [state.ts for state in known]
        places = (bisect_right(begins, time) for time in times)
        return [known[place - 1] if place else None for place in places]


def of(connection: Connection, gpu_ids: Sequence[int], metrics: Collection[str], grid: Grid) -> dict[int, History]:
    """What was in force when the grid starts and at each bucket's end: however often it changed, a row a bucket."""
    if not metrics:
        return {gpu_id: History({}) for gpu_id in gpu_ids}
    before = newest_states(connection, gpu_ids, sorted(metrics), at=grid.start)
    bucket = (states.c.ts + (grid.step - 1)) // grid.step
    inside = and_(
        states.c.gpu_id.in_(gpu_ids), states.c.metric.in_(metrics), states.c.ts > grid.start, states.c.ts <= grid.end
    )
    of_one = (states.c.gpu_id, states.c.metric)
    last = select(*of_one, func.max(states.c.ts).label("ts")).where(inside).group_by(*of_one, bucket).subquery()
    same = and_(*(states.c[name] == last.c[name] for name in ("gpu_id", "metric", "ts")))
    found: dict[int, dict[str, list[State]]] = {gpu_id: {} for gpu_id in gpu_ids}
    for (gpu_id, name), state in before.items():
        found[gpu_id][name] = [state]
    for row in connection.execute(select(states).join(last, same).order_by(states.c.ts)):
        found[row.gpu_id].setdefault(row.metric, []).append(State(row.ts, row.value, row.reason))
    return {gpu_id: History(by_metric) for gpu_id, by_metric in found.items()}


def why(state: State | None) -> str:
    """The reason that a state gives for an absent value."""
    return word(state.reason) if state is not None else NOT_OBSERVED
