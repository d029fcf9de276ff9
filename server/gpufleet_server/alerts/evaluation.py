"""One evaluation: of the rules that are due over the whole fleet, or of some over the nodes that had events."""

import dataclasses
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, bindparam, func, select

from gpufleet_server.alerts import book, silences
from gpufleet_server.alerts.book import Key, Next, Open
from gpufleet_server.alerts.finding import AT, SINCE, Finding, find
from gpufleet_server.alerts.grouping import Holders, breaks, stood_for
from gpufleet_server.alerts.identities import Identities
from gpufleet_server.alerts.overrides import InForce, Overrides
from gpufleet_server.alerts.rule import Needs, Rule, Scope
from gpufleet_server.alerts.runs import Ran, write_runs
from gpufleet_server.alerts.seen import Seen, seen_now
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.silences import Silence
from gpufleet_server.domain.alerting import AlertState, Life, Truth, step
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.xids import Table, catalogue
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import OF_THE_STORE, cause
from gpufleet_server.store.schema import gpus, nodes

_LOG = logging.getLogger(__name__)
# Alerts that fired within this time count as beginning together with those that are about to, µs.
_TOGETHER = 60 * SECOND
_KNOWN = (*OF_THE_STORE, Problem)


@dataclasses.dataclass(slots=True)
class Looked:
    """What was read for an evaluation at `at`: alerts that are open, subjects found by rule, and those not known."""

    at: int
    opened: dict[Key, Open]
    found: dict[str, dict[str, Finding]]
    unknown: set[Key]
    ran: list[Ran]
    silenced: Sequence[Silence] = ()


class Evaluation:
    """Evaluates rules on a store."""

    def __init__(self, store: Store, overrides: Overrides, xids: Table | None = None) -> None:
        self._store, self._overrides, self._xids = store, overrides, xids or catalogue()
        self._rules = {name: each.rule for name, each in overrides.rules.items()}
        self._metrics = {name: _asked(each, store.dialect) for name, each in overrides.rules.items()}
        self._selects: dict[str, Select[Any]] = {}
        self._identities = Identities()

    def of_fleet(self, rules: Collection[str], at: int, heard_since: int = 0, *, texts: bool = True) -> int:
        """Evaluate these rules over the whole fleet at a time (µs); how many alerts began, fired or ended."""
        with self._store.reading() as connection:
            opened = book.open_alerts(connection)
            metrics = sorted({metric for name in rules for metric in self._metrics[name]})
            seen = seen_now(connection, at, metrics, self._identities) if metrics else None
            looked = self._look(connection, rules, at, opened, seen, None, heard_since)
            fleet = _counts(connection) if any(looked.found.values()) else {}
        changes = self._plan(looked, fleet, {})
        changes += self._ended_rules(opened, at)
        with self._store.writing() as connection:
            made = book.write(connection, changes, at, texts=texts)
            if made or opened:
                made += self._hold(connection, looked.silenced, at, None)
            write_runs(connection, looked.ran)
        return made

    def of_nodes(self, rules: Collection[str], node_ids: Sequence[int], at: int) -> int:
        """Evaluate these rules for these nodes only; how many alerts began, fired or ended."""
        with self._store.reading() as connection:
            opened = book.open_alerts(connection, node_ids)
            looked = self._look(connection, rules, at, opened, None, node_ids, 0)
            fleet = _counts(connection)
            recent = book.fired_since(connection, rules, at - _TOGETHER)
        changes = self._plan(looked, fleet, recent)
        if not changes:
            return 0
        with self._store.writing() as connection:
            made = book.write(connection, changes, at)
            made += self._hold(connection, looked.silenced, at, node_ids)
        return made

    def _look(
        self,
        connection: Connection,
        rules: Collection[str],
        at: int,
        opened: dict[Key, Open],
        seen: Seen | None,
        only: Sequence[int] | None,
        heard_since: int,
    ) -> Looked:
        looked = Looked(at, opened, {}, set(), [], silences.active(connection, at))
        for name in rules:
            rule = self._overrides.rules[name]
            arrays = seen if self._metrics[name] else None
            sight = Sight(at, rule.limits, self._store.dialect, seen=arrays, only=only, heard_since=heard_since)
            sight.xids = self._xids
            began = time.perf_counter()
            ran = Ran(rule, at)
            try:
                given = self._select(rule) if only is None and not self._metrics[name] else None
                found = looked.found[name] = find(connection, rule, sight, given)
                looked.unknown |= _unknown(connection, sight, rule.rule, opened, found, only)
                ran.found = len(found)
            except Exception as error:  # noqa: BLE001
                # Nothing that goes wrong with one rule may keep the others from their turn.
                looked.found.pop(name, None)
                ran.error = f"{type(error).__name__}: {cause(error)}"
                ours = error if not isinstance(error, _KNOWN) else None
                _LOG.warning("alerts: rule %s failed: %s", name, ran.error, exc_info=ours)
                # On PostgreSQL the transaction is of no more use.
                connection.rollback()
            ran.seconds = time.perf_counter() - began
            looked.ran.append(ran)
        return looked

    def _select(self, rule: InForce) -> Select[Any]:
        """The select of a rule that asks for no samples, with times to fill in: to make one takes longer than to run
        it."""
        name = rule.rule.name
        if name not in self._selects:
            at, since = (bindparam(each, type_=BigInteger()) for each in (AT, SINCE))
            sight = Sight(at, rule.limits, self._store.dialect, heard_since=since, xids=self._xids)
            self._selects[name] = rule.rule.condition(sight)
        return self._selects[name]

    def _plan(self, looked: Looked, fleet: Mapping[Scope, int], recent: Mapping[str, int]) -> list[Next]:
        by_rule: dict[str, list[Open]] = {}
        for alert in looked.opened.values():
            by_rule.setdefault(alert.rule, []).append(alert)
        changes: list[Next] = []
        for ran in looked.ran:
            name = ran.rule.rule.name
            if name in looked.found:
                changes += self._of_rule(ran, looked, by_rule.get(name, []), fleet, recent.get(name))
        return changes

    def _of_rule(
        self, ran: Ran, looked: Looked, opened: Sequence[Open], fleet: Mapping[Scope, int], recent: int | None
    ) -> list[Next]:
        rule, at = ran.rule, looked.at
        found = looked.found[rule.rule.name]
        firing = {each.subject for each in opened if each.life.state is AlertState.FIRING}
        fresh = recent if recent is not None else sum((each.life.fired_at or 0) >= at - _TOGETHER for each in opened)
        beginning = sum(subject not in firing for subject in found)
        ran.fleet = fleet.get(rule.rule.scope, 0)
        held_back = bool(beginning) and breaks(beginning + fresh, ran.fleet, rule.share, self._overrides.least)
        ran.held_back = beginning if held_back else 0
        changes = [_next(rule, each, found.get(each.subject), looked) for each in opened]
        if held_back:
            # Those that fire go on, and end; those that pend may end; the others wait.
            return [each for each in changes if each.life is None or (each.before and each.before.subject in firing)]
        known = {each.subject for each in opened}
        return changes + [
            Next(rule.rule.name, rule.rule.scope.value, None, _begun(finding, at), finding)
            for subject, finding in found.items()
            if subject not in known
        ]

    def _ended_rules(self, opened: Mapping[Key, Open], at: int) -> list[Next]:
        """What is open of rules that are off now, or that this version does not have."""
        on = {name for name, each in self._overrides.rules.items() if each.manner.enabled}
        return [
            Next(each.rule, each.scope, each, _ended(each.life, at), None, "the rule is off")
            for each in opened.values()
            if each.rule not in on
        ]

    def _hold(self, connection: Connection, silenced: Sequence[Silence], at: int, only: Collection[int] | None) -> int:
        """Hold back what others explain or somebody silenced, and let go what is so no more; how many changed."""
        opened = book.open_alerts(connection, only).values()
        firing = [each for each in opened if each.life.state is AlertState.FIRING]
        holders, changed = Holders(self._rules, firing), 0
        for alert in firing:
            if only is not None and alert.node_id is None:
                # What it stands for is of other nodes too.
                continue
            held_by = self._held_by(alert, opened, holders, silenced)
            if held_by != alert.held_by or (held_by is None and alert.told_at is None):
                changed += book.hold(connection, alert, held_by, at)
        return changed

    def _held_by(
        self, alert: Open, opened: Iterable[Open], holders: Holders, silenced: Sequence[Silence]
    ) -> str | None:
        if (holder := holders.of(alert)) is not None:
            return f"alert {holder}"
        silence = silences.matched(silenced, labels(alert))
        if silence is None and alert.node_id is None:
            # Nobody is to be told of a rack whose nodes are all silenced; while it ends, when they are back, neither.
            those = [silences.matched(silenced, labels(each)) for each in stood_for(self._rules, alert, opened)]
            before = next((each for each in silenced if each.name == alert.held_by), None)
            silence = (those[0] if None not in those else None) if those else before
        return silence.name if silence is not None else None


def labels(alert: Open) -> dict[str, str]:
    """The labels by which silences know an alert."""
    return {**alert.labels, "alertname": alert.rule, "severity": alert.severity, "scope": alert.scope}


def _asked(rule: InForce, dialect: str) -> frozenset[str]:
    """The same; of a rule that fails none: its evaluation will tell."""
    try:
        return asked(rule, dialect)
    except Exception:  # noqa: BLE001
        return frozenset()


def asked(rule: InForce, dialect: str) -> frozenset[str]:
    """The metrics that a rule's condition reads of GPUs, and the numbers of their identities."""
    sight = Sight(0, rule.limits, dialect)
    rule.rule.condition(sight)
    return frozenset(sight.asked)


def _next(rule: InForce, alert: Open, finding: Finding | None, looked: Looked) -> Next:
    if finding is not None:
        truth = Truth.TRUE
    else:
        truth = Truth.UNKNOWN if (alert.rule, alert.subject) in looked.unknown else Truth.FALSE
    manner = finding.manner if finding is not None else rule.of(alert.site, alert.labels.get("model"))
    life = step(alert.life, truth, looked.at, wait=manner.wait, keep=manner.keep)
    return Next(alert.rule, alert.scope, alert, life, finding)


def _begun(finding: Finding, at: int) -> Life | None:
    return step(None, Truth.TRUE, at, wait=finding.manner.wait, keep=finding.manner.keep)


def _ended(life: Life, at: int) -> Life | None:
    fired = life.state is AlertState.FIRING
    return dataclasses.replace(life, state=AlertState.RESOLVED, resolved_at=at) if fired else None


def _unknown(
    connection: Connection,
    sight: Sight,
    rule: Rule,
    opened: Mapping[Key, Open],
    found: Mapping[str, Finding],
    only: Collection[int] | None,
) -> set[Key]:
    """The open alerts of a rule that were not found, and of which it is not known that they are over."""
    missing = [
        each
        for each in opened.values()
        if each.rule == rule.name and each.subject not in found and (only is None or each.node_id in only)
    ]
    others = {
        (each.rule, each.subject)
        for each in opened.values()
        if each.rule == rule.name and only is not None and each.node_id not in only
    }
    if rule.needs is Needs.NOTHING or not missing:
        return others
    of_gpus = rule.scope in (Scope.GPU, Scope.PARTITION)
    gpu_ids = [each.gpu_id for each in missing if each.gpu_id is not None] if of_gpus else []
    node_ids = [each.node_id for each in missing if each.node_id is not None]
    known = set(connection.execute(sight.known(rule.needs, gpu_ids, node_ids)).scalars())
    return others | {
        (each.rule, each.subject) for each in missing if (each.gpu_id if of_gpus else each.node_id) not in known
    }


def _counts(connection: Connection) -> dict[Scope, int]:
    """How many GPUs and nodes there are."""
    of_gpus: Any = select(func.count()).select_from(gpus).where(gpus.c.removed_at.is_(None))
    number = connection.execute(of_gpus).scalar_one()
    return {
        Scope.GPU: number,
        Scope.PARTITION: number,
        Scope.NODE: connection.execute(select(func.count()).select_from(nodes)).scalar_one(),
    }
