"""What a rule's condition may read, of now or of a past time: relations to select from, the same for both."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpufleet_agent.catalogue import BY_NAME, Cadence, Metric
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    FromClause,
    Select,
    and_,
    cast,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    table,
    true,
)
from sqlalchemy.sql.visitors import replacement_traverse

from gpufleet_server.alerts import cells, usual
from gpufleet_server.alerts.given import given
from gpufleet_server.alerts.identities import NUMBERS
from gpufleet_server.alerts.limits import PREFIX, Limits
from gpufleet_server.alerts.predicate import Values, true_where
from gpufleet_server.alerts.rule import KEY, Needs
from gpufleet_server.alerts.seen import REASON, Seen, reasons_of
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.state import NodeState
from gpufleet_server.domain.xids import Table, catalogue
from gpufleet_server.store import condition, latest_states, schema
from gpufleet_server.store import newest as store_newest
from gpufleet_server.store.alerts import rule_runs, servers
from gpufleet_server.store.tiers import latest
from gpufleet_server.store.usage import holders, usage

Where = Callable[[Any], ColumnElement[bool]]
# What says which subject a row is of, and where it is: `Sight.about` gives those that a relation has.
OF_NODE = ("node_id", "node", "hostname", "site", "rack", "room", "simulated")
OF_GPU = ("gpu_id", "gpu", "index", "model", "serial")
OF_HOLDER = ("holder_id", "kind", "user", "job", "namespace", "pod", "container_name", "unit", "command")
IDENTITY = (*OF_NODE, *OF_GPU, "partition", "server")
# An event that came later than this after it happened is history, µs.
_LATE = 86_400 * SECOND


class NothingSeen(Exception):
    """No GPU passes: the condition holds for nobody, and the database need not be asked."""


@dataclass(frozen=True, slots=True)
class Tables:
    """`nodes` and `gpus` with all their columns: the tables themselves, or what they were at a past time."""

    nodes: FromClause = schema.nodes
    gpus: FromClause = schema.gpus


@dataclass(slots=True)
class Sight:
    """What a condition may read at `at` (µs).

    `seen`: the samples of the whole fleet, else they are taken apart in the database; `only`: nothing but these nodes;
    `heard_since`: since when servers listen without a gap, µs: silence before that means nothing.
    `xids` is the table of XIDs in force; `past`: nothing is known of servers and rules then; `asked` has the metrics
    that the condition read.
    """

    at: Any
    limits: Limits
    dialect: str = "postgresql"
    tables: Tables = field(default_factory=Tables)
    seen: Seen | None = None
    only: Sequence[int] | None = None
    heard_since: Any = 0
    xids: Table = field(default_factory=catalogue)
    past: bool = False
    asked: set[str] = field(default_factory=set)

    def observed(
        self, *names: str, where: Where | None = None, reasons: Sequence[str] = (), beside: Sequence[str] = ()
    ) -> FromClause:
        """A row for each GPU that has a sample of now and for which `where` is true of its row.

        Columns: IDENTITY, `ts` (µs), `duration` (ms), these metrics of the catalogue in their units (NULL where
        absent) and numbers of identities (`alerts/identities.py`), of those sent on change also `<metric>_since` (µs),
        and `limit_<name>` for each threshold; of those of every sample that are in `reasons` too, `<metric>_reason`:
        the Reason for which it is absent, else NULL. `beside`: of the first of these names what most GPUs of one model,
        site, and all else that is named here, have (`alerts/usual.py`): `own`, `usual`, `most`, `peers`.
        `where` is made of these and numbers with comparisons, `+ - * /`, `bitwise_and`, `is_`, `&`, `|`, `~`.
        Always give one that few GPUs pass: what is left to the select around it is done for each of these. Where none
        passes NothingSeen ends the evaluation: the condition holds for nobody.
        """
        self.asked.update(names)
        metrics = [BY_NAME[name] for name in names if name not in NUMBERS]
        numbers = [name for name in names if name in NUMBERS]
        if self.seen is None:
            return self._by_sql(metrics, numbers, where, reasons, beside)
        told = [name for metric in metrics for name in cells.columns_of(metric)]
        told += [*(name + REASON for name in reasons), *numbers]
        return self._by_arrays(self.seen, told, where, reasons, beside)

    def nodes(self) -> FromClause:
        """A row for each node.

        Columns: OF_NODE, `state` (a NodeState), `silence` (s), `silent` (it is not reporting, and servers were there to
        hear it), `driver_state`, `driver_since` (µs), `driver_detail`, `clock_offset` (s), `backlog_reports`,
        `backlog_bytes`, `backlog_dropped`, `interval` (s), `agent_version`, `driver_version`, `facts` (JSON,
        wire.Host), `first_seen`, `last_seen` (µs), and limits. Thresholds by model are not for nodes.
        """
        n = self.tables.nodes.c
        silence = self._at - n.last_seen
        patience = self._of_then(condition.tolerance())
        query = select(
            *_of_node(self.tables.nodes),
            self._state().label("state"),
            (cast(silence, Float(53)) / SECOND).label("silence"),
            and_(silence > patience, self._at - self.heard_since > patience).label("silent"),
            *(n[name] for name in ("driver_state", "driver_since", "driver_detail")),
            (cast(n.clock_offset, Float(53)) / SECOND).label("clock_offset"),
            *(n[name] for name in ("backlog_reports", "backlog_bytes", "backlog_dropped")),
            (cast(n.interval_ms, Float(53)) / 1000).label("interval"),
            *(n[name] for name in ("agent_version", "driver_version", "facts", "first_seen", "last_seen")),
            *self.limits.columns(n.site, None),
        )
        return query.where(*self._mine(n.node_id)).subquery()

    def gpus(self) -> FromClause:
        """A row for each GPU that its node holds, seen or not.

        Columns: IDENTITY, `state` (NodeState of its node), `lost`, `memory_total` (B), `identity` (JSON, wire.Gpu),
        `vbios_version`, `board_part_number`, `facts` (JSON, wire.Host, of its node), `first_seen` (µs), and limits.
        """
        return self._gpus(self.tables.gpus.c.removed_at.is_(None))

    def removed(self, within: str) -> FromClause:
        """The same of each GPU that left its node's roster in the last so many s, and is in no other node's now.

        `within` is a threshold's name. Beside these columns: `removed_at` (µs).
        """
        g, other = self.tables.gpus.c, self.tables.gpus.alias("elsewhere").c
        length = self.limits.column(within, self.tables.nodes.c.site, g.model)
        moved = select(1).where(other.uuid == g.uuid, other.removed_at.is_(None)).exists()
        return self._gpus(g.removed_at > self._at - cast(length * SECOND, BigInteger), ~moved)

    def _gpus(self, *which: ColumnElement[bool]) -> FromClause:
        n, g = self.tables.nodes.c, self.tables.gpus.c
        query = select(
            *_of_node(self.tables.nodes),
            *_of_gpu(self.tables.gpus),
            self._state().label("state"),
            *(g[column] for column in ("lost", "memory_total", "identity", "first_seen", "removed_at")),
            *(g[column] for column in ("vbios_version", "board_part_number")),
            n.facts,
            *self.limits.columns(n.site, g.model),
        ).select_from(self.tables.gpus.join(self.tables.nodes, g.node_id == n.node_id))
        return query.where(*which, *self._mine(n.node_id)).subquery()

    def events(self, *kinds: str, within: str | float, where: Where | None = None) -> FromClause:
        """A row for each event of these kinds that came in the last `within` s: a number, or a threshold's name.

        One that was a day or more on its way is left out. Columns: IDENTITY (NULL where it was no GPU's), `event_id`,
        `kind`, `code`, `ts` (µs, when it happened), `received_at`, `message`, `detail` (JSON), `source`, and limits.
        """
        n, g, e = self.tables.nodes.c, self.tables.gpus.c, schema.events.c
        tables = schema.events.join(self.tables.nodes, e.node_id == n.node_id)
        tables = tables.outerjoin(self.tables.gpus, e.gpu_id == g.gpu_id)
        names = ("event_id", "kind", "code", "ts", "received_at", "message", "detail", "source", "partition")
        length = self.limits.column(within, n.site, g.model) if isinstance(within, str) else literal(float(within))
        longest = self.limits.largest(within) if isinstance(within, str) else within
        query = (
            select(
                *_of_node(self.tables.nodes),
                *_of_gpu(self.tables.gpus),
                *(e[name] for name in names),
                *self.limits.columns(n.site, g.model),
            )
            .select_from(tables)
            .where(e.kind.in_(kinds), e.ts > self._at - int(longest * SECOND) - _LATE)
            .where(e.received_at > self._at - cast(length * SECOND, BigInteger), e.received_at <= self._at)
        )
        return _narrowed(query.where(*self._mine(e.node_id)).subquery(), where)

    def usage(self, within: float = 900) -> FromClause:
        """A row for each holder that had a GPU, or a partition of it, in the last `within` s (ADR 0008).

        Columns: IDENTITY, OF_HOLDER, `begin` and `end` (µs, `begin` not before midnight UTC), `observed`, `active` and
        `held` (s of these), and limits. It comes some minutes late. Read for GPUs that were found otherwise: there are
        many rows.
        """
        n, g, u, h = self.tables.nodes.c, self.tables.gpus.c, usage.c, holders.c
        tables = self.tables.gpus.join(self.tables.nodes, g.node_id == n.node_id)
        tables = tables.join(usage, and_(u.node_id == g.node_id, u.slot == g.slot))
        query = select(
            *_of_node(self.tables.nodes),
            *_of_gpu(self.tables.gpus),
            func.nullif(u.partition, "").label("partition"),
            *(h[name] for name in OF_HOLDER),
            *(u[name] for name in ("begin", "end")),
            *((cast(u[name], Float(53)) / 1000).label(name) for name in ("observed", "active", "held")),
            *self.limits.columns(n.site, g.model),
        ).select_from(tables.join(holders, h.holder_id == u.holder_id))
        # An interval is not longer than a day.
        recent = (u.begin > self._at - 2 * _LATE, u.begin <= self._at, u.end > self._at - int(within * SECOND))
        return query.where(*recent, *self._mine(n.node_id)).subquery()

    def servers(self) -> FromClause:
        """A row for each server that was there in the last minute, or longer ago: `server`, `seen` (s ago), `facts`."""
        c = servers.c
        seen = cast(self._at - c.seen_at, Float(53)) / SECOND
        query = select(c.server, c.started_at, seen.label("seen"), c.facts, *self.limits.columns(None, None))
        return query.where(self._now_only()).subquery()

    def runs(self) -> FromClause:
        """A row for each rule and how its evaluation went last: the columns of `rule_runs`, and limits."""
        return select(rule_runs, *self.limits.columns(None, None)).where(self._now_only()).subquery()

    def was(
        self, metric: str, gpu_id: ColumnElement[int], seconds: ColumnElement[float] | float, *, or_first: bool = False
    ) -> ColumnElement[Any]:
        """What a metric that is sent on change was so many seconds ago, in its unit; NULL where nothing was known yet.

        `or_first`: where it was not known yet, what it was first. A look into an index for each row: for rows that a
        `where` has left.
        """
        s, known = schema.states.alias("past").c, BY_NAME[metric]
        then = self._at - cast(seconds * SECOND, BigInteger)
        told = select(cells.in_unit(known, s.value)).where(
            s.gpu_id == gpu_id, s.metric == metric, s.value.is_not(None), s.ts <= self._at
        )
        before = told.where(s.ts <= then).order_by(s.ts.desc()).limit(1).scalar_subquery()
        return func.coalesce(before, told.order_by(s.ts).limit(1).scalar_subquery()) if or_first else before

    def about(self, relation: FromClause, value: Any, *more: ColumnElement[Any], key: Any = None) -> Select[Any]:
        """The select that a condition gives: which subject, `value`, what else the text names, and the limits."""
        there = [relation.c[name] for name in IDENTITY if name in relation.c]
        limits = [each for each in relation.c if each.name.startswith(PREFIX)]
        keys = [] if key is None else [key.label(KEY)]
        return select(*there, *keys, (null() if value is None else value).label("value"), *more, *limits)

    def known(self, needs: Needs, gpu_ids: Sequence[int], node_ids: Sequence[int]) -> Select[Any]:
        """Of these GPUs, or of these nodes where there are no GPUs: those of which it is known what is asked for.

        A GPU that was removed, from a node that reports, is known: there is nothing left to tell of it.
        """
        n = self.tables.nodes.c
        well = (
            [NodeState.REPORTING.value]
            if needs is not Needs.REPORT
            else [state.value for state in NodeState if state is not NodeState.NOT_REPORTING]
        )
        reports = self._state().in_(well)
        if not gpu_ids:
            return select(n.node_id).where(n.node_id.in_(node_ids), reports)
        g = self.tables.gpus.c
        tables = self.tables.gpus.join(self.tables.nodes, g.node_id == n.node_id)
        there: ColumnElement[bool] = reports
        if needs is Needs.SAMPLE:
            tables = tables.join(latest, latest.c.node_id == n.node_id)
            tables = tables.outerjoin(latest_states.latest_states, latest_states.latest_states.c.node_id == n.node_id)
            there = and_(reports, not_(g.lost), self._fresh(), *map(cells.told, sorted(self.asked - NUMBERS.keys())))
        return (
            select(g.gpu_id)
            .select_from(tables)
            .where(g.gpu_id.in_(gpu_ids), or_(there, and_(reports, g.removed_at.is_not(None))))
        )

    @property
    def _at(self) -> ColumnElement[int]:
        return literal(self.at, BigInteger) if isinstance(self.at, int) else self.at

    def _now_only(self) -> ColumnElement[bool]:
        return false() if self.past else true()

    def _mine(self, node_id: ColumnElement[int]) -> list[ColumnElement[bool]]:
        return [] if self.only is None else [node_id.in_(self.only)]

    def _state(self) -> ColumnElement[str]:
        return self._of_then(condition.node_state(self._at))

    def _of_then(self, expression: ColumnElement[Any]) -> ColumnElement[Any]:
        """An expression over `nodes`, over what they were then."""
        if self.tables.nodes is schema.nodes:
            return expression
        then: ColumnElement[Any] = replacement_traverse(expression, {}, functools.partial(_replaced, self.tables.nodes))
        return then

    def _fresh(self) -> ColumnElement[bool]:
        ts = func.gpufleet_int8(latest.c.ts, schema.gpus.c.slot, type_=BigInteger)
        return self._at - ts <= condition.tolerance()

    def _by_arrays(
        self, seen: Seen, names: Sequence[str], where: Where | None, reasons: Sequence[str], beside: Sequence[str]
    ) -> FromClause:
        """Only those that pass are looked up in the database."""
        arrays = self.limits.arrays(seen.sites, seen.models, seen.site, seen.model)
        limits = {name: Values(array) for name, array in arrays.items()}
        columns = dict(seen.columns) | limits | {"ts": Values(seen.ts), "duration": Values(seen.duration)}
        columns |= {name + REASON: reasons_of(BY_NAME[name], seen.columns[name]) for name in reasons}
        if beside:
            own, *kinds = (seen.columns[name] for name in beside)
            columns |= usual.by_arrays((seen.site, seen.model), kinds, own)
        told = ("ts", "duration", *names, *(usual.COLUMNS if beside else ()))
        which: Any = slice(None)
        if where is not None:
            raw = table("gpu", *(cells.column_of(name) for name in (*told, *limits)))
            which = true_where(where(raw.c), columns, len(seen.gpu_id)).nonzero()[0]
            if not len(which):
                raise NothingSeen
        rows = {"gpu_id": (BigInteger(), seen.gpu_id[which].tolist())}
        rows |= {name: (cells.column_of(name).type, cells.listed(columns[name], which)) for name in told}
        return self._named(given(self.dialect, "cell", rows), told)

    def _named(self, cells: FromClause, names: Iterable[str]) -> FromClause:
        n, g = self.tables.nodes.c, self.tables.gpus.c
        tables = cells.join(self.tables.gpus, g.gpu_id == cells.c.gpu_id)
        return (
            select(
                *_of_node(self.tables.nodes),
                *_of_gpu(self.tables.gpus),
                *(cells.c[name] for name in names),
                *self.limits.columns(n.site, g.model),
            )
            .select_from(tables.join(self.tables.nodes, g.node_id == n.node_id))
            .subquery()
        )

    def _by_sql(
        self,
        metrics: Sequence[Metric],
        numbers: Sequence[str],
        where: Where | None,
        reasons: Sequence[str],
        beside: Sequence[str],
    ) -> FromClause:
        n, g = schema.nodes.c, schema.gpus.c
        sampled = store_newest.newest([m.name for m in metrics if m.cadence is Cadence.EVERY_SAMPLE])
        tables = schema.gpus.join(schema.nodes, g.node_id == n.node_id).join(sampled, sampled.c.gpu_id == g.gpu_id)
        if any(metric.cadence is Cadence.ON_CHANGE for metric in metrics):
            in_force = latest_states.latest_states
            tables = tables.outerjoin(in_force, in_force.c.node_id == n.node_id)
        if reasons:
            tables = tables.join(latest, latest.c.node_id == n.node_id)
        query = select(
            *_of_node(schema.nodes),
            *_of_gpu(schema.gpus),
            sampled.c.ts,
            sampled.c.duration,
            *(part for metric in metrics for part in cells.taken_apart(metric, sampled)),
            *(cells.reason(BY_NAME[name]).label(name + REASON) for name in reasons),
            *(NUMBERS[name].sql(g.identity).label(name) for name in numbers),
            *self.limits.columns(n.site, g.model),
        ).select_from(tables)
        fresh = (not_(g.lost), g.removed_at.is_(None), self._state() == NodeState.REPORTING.value)
        # What is usual is so of the whole fleet.
        mine = [] if beside else self._mine(n.node_id)
        found = query.where(*fresh, self._at - sampled.c.ts <= condition.tolerance(), *mine).subquery()
        if beside:
            own, *kinds = (found.c[name] for name in beside)
            found = usual.by_sql(found, own, *kinds)
            found = select(found).where(*self._mine(found.c.node_id)).subquery()
        return _narrowed(found, where)


def _narrowed(relation: FromClause, where: Where | None) -> FromClause:
    return relation if where is None else select(relation).where(where(relation.c)).subquery()


def _replaced(then: FromClause, element: Any, **_: Any) -> Any:
    return then.c[element.name] if getattr(element, "table", None) is schema.nodes else None


def _of_node(nodes: FromClause) -> list[ColumnElement[Any]]:
    c = nodes.c
    return [c.node_id, c.uuid.label("node"), c.hostname, c.site, c.rack, c.room, c.simulated]


def _of_gpu(gpus: FromClause) -> list[ColumnElement[Any]]:
    c = gpus.c
    return [c.gpu_id, c.uuid.label("gpu"), c.position.label("index"), c.model, c.serial]
