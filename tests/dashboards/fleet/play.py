"""Plays a plan: agents' reports go through the real ingest, upkeep and rules run as a server's do, on a set clock."""

import concurrent.futures
import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import ON_CHANGE
from gpufleet_server.alerts import overrides
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.engine import Engine
from gpufleet_server.ingest.prepare import prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.faults import FaultKind
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.simulate.reports import Closed, Reporter, Sampled, grid
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import count_states
from gpufleet_server.store.fold import fold
from gpufleet_server.store.tokens import TokenCache
from gpufleet_server.store.upkeep import Upkeep
from gpufleet_server.store.usage_waste import find_worst

from tests.dashboards.fleet.plan import DAY, HOUR, Phase, Plan
from tests.dashboards.fleet.sent import Sent, SentNode

_NEVER = np.iinfo(np.int64).min


class _Answer(concurrent.futures.Future[wire.Ack]):
    """What the writer tells of a report, to this thread."""

    def get_loop(self) -> Any:
        """The writer calls back through a loop; here that is this very object."""
        return self

    def call_soon_threadsafe(self, callback: Any, *given: Any) -> None:
        """Call back at once."""
        callback(*given)


@dataclasses.dataclass
class _Agent:
    """One node's agent: what it told last, and what of it is kept."""

    reporter: Reporter
    sent: SentNode
    told: Any
    roster: str = ""
    seq: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))

    @property
    def node(self) -> SimNode:
        return self.reporter.node

    def become(self, node: SimNode) -> None:
        """Be another node of the same id from now on."""
        stream, started = self.reporter.stream, self.reporter.started
        self.reporter = Reporter(node, self.reporter.interval, started)
        self.reporter.stream, self.sent.node = stream, node
        self.told = self.told[:, : node.count]

    def report(self, sampled: Sampled, place: int, since: int, until: int) -> wire.Report:
        """What it tells of (since, until]."""
        closed = Closed(next(self.seq), since, until, wire.Backlog(), self._changed(until))
        report = self.reporter.report(closed, sampled.samples(place, self.reporter, since, until))
        if report.roster_digest != self.roster:
            self.roster = report.roster_digest
            report.roster = self.reporter.report(dataclasses.replace(closed, with_roster=True), []).roster
        return report

    def _changed(self, until: int) -> list[wire.State]:
        if self.reporter.hung(until):
            return []
        current = physics.states_of(Boards.of([self.node]), until)
        metrics, gpus = np.nonzero(current != self.told)
        self.told = current
        told = zip(gpus.tolist(), metrics.tolist(), current[metrics, gpus].tolist(), strict=True)
        return self.reporter.states(until, told)


class Play:
    """A plan on a store that is migrated and empty."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.plan, self.at, self._store = plan, plan.phases[0].begin, store
        self.statistics = Statistics()
        self._agents = [self._agent(node) for node in plan.nodes]
        self._upkeep = Upkeep(store, None, lambda: self.at)
        self._engine = Engine(store, overrides.usual(every_rule()), lambda: self.at, interval=60)
        self.sent = Sent(plan.end, [agent.sent for agent in self._agents])
        self._later = sorted(plan.later, key=lambda each: each[0])

    def play(self) -> Sent:
        """Play all of it; what was sent."""
        tokens = TokenCache(self._store, lambda: self.at)
        writer = Writer(self._store, tokens, self.statistics, now=lambda: self.at, happened=self._engine.happened)
        writer.start()
        try:
            for phase in self.plan.phases:
                self._play(phase, writer)
        finally:
            writer.stop()
        return self.sent

    def _agent(self, node: SimNode) -> _Agent:
        reporter = Reporter(node, 300_000, self.plan.phases[0].begin)
        told = np.full((len(ON_CHANGE), node.count), _NEVER)
        return _Agent(reporter, SentNode(node, reporter.uuids), told)

    def _play(self, phase: Phase, writer: Writer) -> None:
        agents = self._agents[: phase.nodes]
        for agent in agents:
            agent.reporter.interval = phase.interval
        for since in range(phase.begin, phase.end, phase.every):
            self.at = min(since + phase.every, phase.end)
            if since // HOUR % phase.hours == 0:
                self._change()
                self._send(writer, agents, since, tells_usage=since // DAY % phase.used == 0)
                self._look_after(phase)
        self._upkeep.run_once(self.at)
        # Which counts too, unless that was done in this minute.
        self.sent.counted = sorted({*self.sent.counted, self.at})

    def _change(self) -> None:
        while self._later and self._later[0][0] <= self.at:
            _, node = self._later.pop(0)
            self._agents[node.number].become(node)

    def _send(self, writer: Writer, agents: Iterable[_Agent], since: int, *, tells_usage: bool) -> None:
        answers = []
        for some in _alike(agents):
            interval = some[0].reporter.interval
            sampled = Sampled(Boards.of([agent.node for agent in some]), grid(since, self.at, interval), interval)
            for place, agent in enumerate(some):
                if not any(fault.active(self.at) for fault in agent.node.having(FaultKind.SILENT)):
                    report = agent.report(sampled, place, since, self.at)
                    if tells_usage:
                        report.holders, report.usage = sampled.usage(place, agent.reporter, since, self.at)
                    answers.append(self._put(writer, agent, report))
        for answer in answers:
            answer.result(timeout=60)

    def _put(self, writer: Writer, agent: _Agent, report: wire.Report) -> _Answer:
        answer, sent = _Answer(), agent.reporter.clock(self.at)
        writer.put(prepare(wire.encode(report), sent, agent.node.id, agent.node.hostname, self.at), answer)
        agent.sent.take(report)
        return answer

    def _look_after(self, phase: Phase) -> None:
        """What a server does beside, but for what can as well be done at the end of a phase."""
        count_states(self._store, self.at)
        self.sent.counted.append(self.at)
        if phase.hours == 1:
            self._engine.take_events()
            if self.at % HOUR < phase.every:
                # The worst of an hour are looked for in that hour and the next.
                fold(self._store, self.at)
                find_worst(self._store, self.at)
        if phase.interval == 10_000:
            self._engine.round()
            self.sent.rounds.append(self.at)


def _alike(agents: Iterable[_Agent]) -> list[list[_Agent]]:
    """Agents of nodes with equally many GPUs."""
    found: dict[int, list[_Agent]] = defaultdict(list)
    for agent in agents:
        found[agent.node.count].append(agent)
    return list(found.values())
