"""Plays scenarios: reports go through the real ingest, rules through the real engine, on a clock that is set."""

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from gpufleet_agent import wire
from gpufleet_server.alerts import overrides
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.engine import Engine
from gpufleet_server.alerts.rule import Rule
from gpufleet_server.alerts.servers import Self
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.ingest.prepare import prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.alerts import alerts, rule_runs
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import fold
from gpufleet_server.store.tokens import TokenCache
from sqlalchemy import Select, select

from tests.server.alerts.played import SECOND, PlayedNode, nodes
from tests.server.alerts.scenario import Expected, Play, Scenario, micros

# 2026-09-21, some time in the day.
BEGAN = 1_790_000_000 * SECOND


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """An alert that fired: times in µs from the beginning."""

    labels: dict[str, str]
    severity: str
    text: str
    fires: int
    resolves: int | None
    held: bool

    def __str__(self) -> str:
        until = "to the end" if self.resolves is None else f"to {self.resolves / SECOND:g} s"
        return f"{self.labels} {self.severity} from {self.fires / SECOND:g} s {until}: {self.text}"


class Answer(concurrent.futures.Future[wire.Ack]):
    """What the writer tells of a report, to this thread."""

    def get_loop(self) -> Any:
        """The writer calls back through a loop; here that is this very object."""
        return self

    def call_soon_threadsafe(self, callback: Any, *given: Any) -> None:
        """Call back at once."""
        callback(*given)


class Player:
    """One scenario on a store."""

    def __init__(self, store: Store, scenario: Scenario) -> None:
        self.store, self.scenario, self.at = store, scenario, BEGAN
        self._failing: list[str] = []
        self._is_gone = False
        self._facts: dict[str, float | str | None] = {}
        self._server = Self(store, lambda: self._facts, BEGAN)
        self.engine = self._engine()
        self.nodes = nodes(scenario.nodes, BEGAN)

    def play(self) -> list[Told]:
        """Play all of it; the alerts of the rule that fired, in the order in which they did."""
        plays = sorted(self.scenario.play, key=lambda play: micros(play.at))
        step = self.scenario.step * SECOND
        with self._writer() as writer:
            for offset in range(0, micros(self.scenario.length) + 1, step):
                self.at = BEGAN + offset
                while plays and micros(plays[0].at) <= offset:
                    self._take(plays.pop(0))
                self._send(writer)
                if any(play.holder for play in self.scenario.play):
                    fold(self.store, self.at, all_=True)
                if self._facts and not self._is_gone:
                    self._server.write(self.at)
                self.engine.take_events()
                self.engine.round()
        return self._told()

    def error(self) -> str:
        """Why the rule could not be evaluated the last time; empty where it could."""
        with self.store.reading() as connection:
            return str(connection.execute(select(rule_runs.c.error).filter_by(rule=self.scenario.rule)).scalar_one())

    def _take(self, play: Play) -> None:
        if play.failing is not None:
            self._failing, self.engine = play.failing, self._engine()
        self._facts |= play.server
        self._is_gone = play.server_is == "gone" or (self._is_gone and play.server_is is None)
        if play.server_is == "restarted":
            self._server = Self(self.store, lambda: self._facts, self.at)
            self._server.name += " again"
        for node in self.nodes:
            if node.is_meant(play):
                node.take(play, self.at)

    def _engine(self) -> Engine:
        rules = {name: self._breakable(every_rule()[name]) for name in (self.scenario.rule, *self.scenario.with_rules)}
        given = overrides.parse(self.scenario.overrides, rules)
        return Engine(self.store, given, lambda: self.at, interval=self.scenario.step)

    def _breakable(self, rule: Rule) -> Rule:
        def condition(sight: Sight) -> Select[Any]:
            if rule.name in self._failing:
                raise ZeroDivisionError("it is broken")
            return rule.condition(sight)

        return dataclasses.replace(rule, condition=condition)

    @contextlib.contextmanager
    def _writer(self) -> Iterator[Writer]:
        tokens = TokenCache(self.store, lambda: self.at)
        writer = Writer(self.store, tokens, Statistics(), now=lambda: self.at, happened=self._happened)
        writer.start()
        yield writer
        writer.stop()

    def _happened(self, events: Iterable[tuple[str, int]]) -> None:
        self.engine.happened(events)

    def _send(self, writer: Writer) -> None:
        answers = []
        for node in self.nodes:
            node.waiting.append(node.report(self.at, self.scenario.step))
            if node.sends:
                answers += [self._put(writer, node, report) for report in node.waiting]
                node.waiting = []
        for answer in answers:
            answer.result(timeout=30)

    def _put(self, writer: Writer, node: PlayedNode, report: wire.Report) -> Answer:
        answer = Answer()
        sent = node.clocks(self.at)
        writer.put(prepare(wire.encode(report), sent, node.uuid, node.name, self.at), answer)
        return answer

    def _told(self) -> list[Told]:
        fired = alerts.c.rule == self.scenario.rule, alerts.c.fired_at.is_not(None)
        with self.store.reading() as connection:
            rows = connection.execute(select(alerts).where(*fired).order_by(alerts.c.fired_at, alerts.c.alert_id)).all()
        return [
            Told(
                row.labels,
                row.severity,
                row.text,
                row.fired_at - BEGAN,
                None if row.resolved_at is None else row.resolved_at - BEGAN,
                row.held_by is not None,
            )
            for row in rows
        ]


def is_met(expected: Expected, told: Told, step: int) -> bool:
    """Whether an alert is the one that was expected."""
    place = {"hostname": expected.node, "index": None if expected.gpu is None else str(expected.gpu)}
    labels = {name: value for name, value in place.items() if value is not None} | expected.labels
    return (
        labels.items() <= told.labels.items()
        and expected.severity in (None, told.severity)
        and expected.text in told.text
        and expected.held == told.held
        and _when(expected.fires, told.fires, step)
        and _when(expected.resolves, told.resolves, step)
    )


def _when(expected: str | None, told: int | None, step: int) -> bool:
    if expected is None or told is None:
        return expected is None and told is None
    return 0 <= told - micros(expected) <= step * SECOND
