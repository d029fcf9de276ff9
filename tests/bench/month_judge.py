"""Which alert of the simulated month belongs to which happening: what was found, what was missed, what was false."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.store.alerts import alerts
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import nodes
from sqlalchemy import Row, select

from tests.bench.month_plan import Happening, Plan
from tests.bench.month_story import HOUR

# So long after a happening has ended an alert may still be about it: rules count events for a day, s.
_LINGERS = 25 * HOUR

Fired = Row[Any]


@dataclass(slots=True)
class Verdict:
    """Of each kind that is to be found how many there were, how many were found, and after how many s.

    `fired`: alerts by (rule, severity, whether anybody was told); `missed` and `false` as texts.
    """

    injected: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    delays: dict[str, list[float]] = field(default_factory=dict)
    harmless: Counter[str] = field(default_factory=Counter)
    fired: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)

    def told(self, severity: str | None = None) -> int:
        """How many alerts of a severity, or of any, somebody was told of."""
        return sum(count for (_, own, told), count in self.fired.items() if told and severity in (None, own))


def judge(store: Store, plan: Plan) -> Verdict:
    """Hold the alerts in the store against the plan."""
    with store.reading() as connection:
        fired = connection.execute(
            select(alerts).where(alerts.c.fired_at.is_not(None)).order_by(alerts.c.fired_at)
        ).all()
        places = {row.uuid: row.node_id for row in connection.execute(select(nodes.c.uuid, nodes.c.node_id))}
    node_ids = [places[node.id] for node in plan.nodes]
    verdict, explained = Verdict(), set[int]()
    for happening in plan.happenings:
        mine = [one for one in fired if _is_about(one, happening, plan, node_ids)]
        explained |= {one.alert_id for one in mine}
        _look(verdict, happening, mine, plan)
    for one in fired:
        verdict.fired[one.rule, one.severity, one.told_at is not None] += 1
        if one.told_at is not None and one.alert_id not in explained:
            verdict.false.append(f"{_day(one.fired_at, plan)} {one.rule} {one.severity}: {one.text}")
    return verdict


def _look(verdict: Verdict, happening: Happening, mine: Sequence[Fired], plan: Plan) -> None:
    kind = happening.kind
    if not kind.finds:
        verdict.harmless[kind.name] += 1
        return
    verdict.injected[kind.name] += 1
    delays = [(one.fired_at - happening.at) / SECOND for one in mine if one.rule in kind.finds]
    if delays and min(delays) <= kind.within:
        verdict.found[kind.name] += 1
        verdict.delays.setdefault(kind.name, []).append(min(delays))
    else:
        where = plan.nodes[happening.nodes[0]].hostname
        verdict.missed.append(f"{_day(happening.at, plan)} {kind.name} of {where}, GPU {happening.gpu}: {delays}")


def _is_about(alert: Fired, happening: Happening, plan: Plan, node_ids: Sequence[int]) -> bool:
    kind = happening.kind
    if alert.rule not in (*kind.finds, *kind.besides):
        return False
    last = max(happening.end + _LINGERS * SECOND, happening.at + kind.within * SECOND)
    if not happening.at <= alert.fired_at <= last:
        return False
    if alert.node_id is not None:
        index = alert.labels.get("index")
        same = not kind.of_gpu or index in (None, str(happening.gpu))
        return same and any(node_ids[number] == alert.node_id for number in happening.nodes)
    return _is_around(alert, happening, plan)


def _is_around(alert: Fired, happening: Happening, plan: Plan) -> bool:
    """Of an alert that is no node's."""
    node = plan.nodes[happening.nodes[0]]
    jobs = {turn.holder.job for turn in happening.turns if turn.holder is not None}
    if alert.rack is not None:
        return (alert.site, alert.rack) == (node.site.name, node.rack)
    if jobs:
        return alert.labels.get("job") in jobs
    return alert.site in (None, node.site.name)


def _day(at: int, plan: Plan) -> str:
    return f"day {(at - plan.begin) / SECOND / 86_400:.3f}"
