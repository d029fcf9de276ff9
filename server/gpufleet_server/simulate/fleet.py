"""Runs simulated agents against a server, and counts what was committed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import ssl
from collections import defaultdict
from collections.abc import Sequence

from gpufleet_agent.wire import Ack

from gpufleet_server.simulate.agent import Committed, Sent, SimAgent, Terms, now
from gpufleet_server.simulate.cohort import Cohort
from gpufleet_server.simulate.faults import SECOND
from gpufleet_server.simulate.link import Link
from gpufleet_server.simulate.noise import key
from gpufleet_server.simulate.outbox import Outbox
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.simulate.reports import Reporter
from gpufleet_server.simulate.statistics import Tally

__all__ = ["Fleet", "Tally"]

_CONNECTIONS = 16
# Seconds from one agent's first report to the next one's, and to the last one's at most.
_APART, _SPREAD = 0.1, 5.0
# Whoever was asleep longer than this (µs) has observed nothing meanwhile.
_LONGEST_GAP = 300 * SECOND
_LONGEST_SLEEP = 0.1


class Fleet:
    """Simulated agents. `interval` and `every`, between samples and between reports, are in ms."""

    def __init__(
        self,
        nodes: Sequence[SimNode],
        url: str,
        join_token: str,
        *,
        interval: int = 10_000,
        every: int | None = None,
        committed: Committed | None = None,
        tls: ssl.SSLContext | None = None,
        connections: int = _CONNECTIONS,
        spread: float | None = None,
        offline: float = 0.0,
        backlog: float = 0.0,
        pauses: tuple[float, float] = (1.0, 60.0),
        joins: bool = True,
        usage: bool = True,
        credentials: dict[str, str] | None = None,
    ) -> None:
        """`spread` seconds lie between the first agent's first report and the last one's.

        A share `offline` of the agents begins with `backlog` seconds' reports that they could not send. After a
        failure agents pause for the first of `pauses` (s), then twice as long each time, up to the second.
        Without `joins` they send each report by itself, as agents of before; without `usage` they do not tell who uses
        the GPUs. `credentials`, by node id, are those
        that are known from before; new ones are added to it.
        """
        self._link = Link(url, connections, tls)
        period = every if every is not None else max(interval, 10_000)
        self._interval, self._every = interval, period * 1000
        self._terms = Terms(self._link, join_token, self._every, committed or _nobody, self._retry, pauses, joins)
        self._terms.usage = usage
        self._terms.credentials = credentials if credentials is not None else {}
        self._spread = spread if spread is not None else min(_APART * len(nodes), _SPREAD, period / 1000)
        self._offline, self._backlog = offline, int(backlog * SECOND) // self._every
        self._order = itertools.count()
        self._retries: list[tuple[int, int, SimAgent]] = []
        self._events: list[tuple[int, int, SimAgent]] = []
        self._due: list[tuple[int, int, Cohort]] = []
        self._agents: list[SimAgent] = []
        self._expired = 0
        self._nodes = nodes

    def begin(self) -> None:
        """Plan who reports when, the first one at once. `run` and `flush` do it where it was not done before."""
        if self._agents or not self._nodes:
            return
        begin, apart = now(), self._spread / len(self._nodes)
        slots = max(1, min(len(self._nodes), round(self._spread / _APART)))
        together: dict[tuple[int, int], list[SimNode]] = defaultdict(list)
        for number, node in enumerate(self._nodes):
            together[number * slots // len(self._nodes), node.count].append(node)
        for (slot, _), nodes in together.items():
            first = begin + int(slot * apart * len(self._nodes) / slots * SECOND)
            agents = [self._agent(node, first) for node in nodes]
            self._agents += agents
            cohort = Cohort(agents, self._interval, self._every, self._terms.tally)
            heapq.heappush(self._due, (first, next(self._order), cohort))

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Report until `stop` is set, or until cancelled: then connections are closed whatever is on its way."""
        self.begin()
        try:
            while stop is None or not stop.is_set():
                at = now()
                self._go_on(at)
                self._tell_events(at)
                if self._due and self._due[0][0] <= at:
                    await self._close_next(at)
                else:
                    await asyncio.sleep(self._pause(at))
        except asyncio.CancelledError:
            self._link.close()
            raise

    async def flush(self, grace: float = 0.0) -> None:
        """After `run`: every agent closes its last report and sends what it has, once or for `grace` seconds."""
        self.begin()
        until = now()
        for _, _, cohort in list(self._due):
            for _ in cohort.close(until):
                await asyncio.sleep(0)
        for agent in self._agents:
            agent.hurry()
            agent.go_on()
        deadline = now() + int(grace * SECOND)
        while any(agent.asking for agent in self._agents) or (now() < deadline and self._waiting()):
            self._go_on(now())
            await asyncio.sleep(0.02)
        self._link.close()
        # Closed transports tell so in the next rounds of the loop.
        await asyncio.sleep(0)

    def tally(self) -> Tally:
        """The counts as of now."""
        self._terms.tally.waiting = self._waiting()
        return self._terms.tally

    def _waiting(self) -> int:
        return sum(agent.outbox.waiting for agent in self._agents)

    def _agent(self, node: SimNode, first: int) -> SimAgent:
        until = first - self._every
        away = key(node.id, "offline") < self._offline * 2**64
        before = self._backlog if away else 0
        outbox = Outbox(self._every, until)
        outbox.begin_with(before)
        self._terms.tally.made += before
        agent = SimAgent(Reporter(node, self._interval, until - before * self._every), self._terms, outbox)
        self._plan_event(agent, until)
        return agent

    def _plan_event(self, agent: SimAgent, after: int) -> None:
        at = agent.reporter.next_event(after)
        if at is not None:
            heapq.heappush(self._events, (at, next(self._order), agent))

    def _retry(self, at: int, agent: SimAgent) -> None:
        heapq.heappush(self._retries, (at, next(self._order), agent))

    def _go_on(self, at: int) -> None:
        while self._retries and self._retries[0][0] <= at:
            heapq.heappop(self._retries)[2].go_on()
        if at - self._expired >= SECOND:
            self._expired = at
            self._link.expire()

    def _tell_events(self, at: int) -> None:
        """An event is told at once, not when the next report is due."""
        while self._events and self._events[0][0] <= at:
            moment, _, agent = heapq.heappop(self._events)
            self._plan_event(agent, moment)
            if moment > agent.outbox.until and not agent.silent(moment):
                agent.close(moment, [], None)
                agent.go_on()

    async def _close_next(self, at: int) -> None:
        until, _, cohort = heapq.heappop(self._due)
        if at - until > _LONGEST_GAP:
            until += (at - until) // self._every * self._every
            cohort.skip(until - self._every)
        try:
            for _ in cohort.close(until):
                await asyncio.sleep(0)
        finally:
            heapq.heappush(self._due, (until + self._every, next(self._order), cohort))

    def _pause(self, at: int) -> float:
        following = min((heap[0][0] for heap in (self._due, self._events, self._retries) if heap), default=at + SECOND)
        return min(max(following - at, 0) / SECOND, _LONGEST_SLEEP)


def _nobody(_: Sent, __: Ack) -> None:
    """Nobody wants to hear."""
