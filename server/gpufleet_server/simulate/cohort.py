"""Agents that close their reports at the same moments: one pass of arithmetic samples all their GPUs."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from gpufleet_agent.catalogue import ON_CHANGE
from gpufleet_agent.wire import State

from gpufleet_server.simulate import physics
from gpufleet_server.simulate.agent import SimAgent
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.faults import SECOND
from gpufleet_server.simulate.noise import Integers
from gpufleet_server.simulate.reports import Sampled, grid
from gpufleet_server.simulate.statistics import Tally

_STATES_EVERY = 60 * SECOND
# No value and no reason is ever stored as this.
_NEVER_TOLD = np.iinfo(np.int64).min + 15
# A batch holds no more than this (µs).
_LATEST = 300 * SECOND
# Between these many agents the event loop gets its turn, so that answers do not wait.
_AT_ONCE = 8

# How many reports back agents are sampled together, and how many such batches are held.
_RECENT, _HELD = 30, 2

_Changed = list[list[State]]


class Cohort:
    """Agents of nodes with equally many GPUs. `interval` in ms, `every` in µs."""

    def __init__(self, agents: Sequence[SimAgent], interval: int, every: int, tally: Tally) -> None:
        self.agents = agents
        self._interval, self._every, self._tally = interval, every, tally
        self._boards = Boards.of([agent.node for agent in agents])
        self._gpus = agents[0].node.count
        # Metrics × GPUs: the state of each as it was told last.
        self._told: Integers = np.full((len(ON_CHANGE), len(self._boards)), _NEVER_TOLD)
        self._states_at = 0
        # What the last batch told of ended then.
        self._until = min(agent.outbox.until for agent in agents)
        # The ends of the last reports; whoever is late with one is hardly alone, so it is sampled for all, once.
        self._closed: deque[int] = deque(maxlen=_RECENT)
        self._batches: OrderedDict[int, Sampled] = OrderedDict()
        for number, agent in enumerate(agents):
            agent.batch = partial(self.batch, number)

    def close(self, until: int) -> Iterator[None]:
        """Every agent closes a report as of `until` and sends it; now and then others get their turn."""
        with _Timed(self._tally):
            sampled = self._sampled(until)
            changed = self._changed(until)
        for first in range(0, len(self.agents), _AT_ONCE):
            some = self.agents[first : first + _AT_ONCE]
            with _Timed(self._tally):
                for number, agent in enumerate(some, first):
                    self._close(agent, until, changed[number], sampled, number)
            for agent in some:
                agent.go_on()
            yield
        self._until = until
        self._closed.append(until)

    def batch(self, number: int, since: int, until: int) -> tuple[Sampled, int] | None:
        """All agents' samples of a report that was closed lately, and this agent's place in them."""
        if until not in self._closed or since != until - self._every:
            return None
        if until not in self._batches:
            self._batches[until] = Sampled(self._boards, grid(since, until, self._interval), self._interval)
            if len(self._batches) > _HELD:
                self._batches.popitem(last=False)
        return self._batches[until], number

    def skip(self, until: int) -> None:
        """Let the time until then go by unobserved."""
        self._until = until
        for agent in self.agents:
            agent.outbox.skip(until)

    def _close(self, agent: SimAgent, until: int, changed: list[State], sampled: Sampled | None, number: int) -> None:
        if agent.silent(until):
            agent.outbox.skip(until)
            return
        # Whoever has older samples to tell than the batch holds writes them when it is their turn.
        holds = agent.outbox.until >= self._since(until)
        agent.close(until, changed, (sampled, number) if sampled is not None and holds else None)

    def _sampled(self, until: int) -> Sampled | None:
        """The samples, where anyone will send them at once."""
        if all(agent.outbox.waiting for agent in self.agents):
            return None
        return Sampled(self._boards, grid(self._since(until), until, self._interval), self._interval)

    def _since(self, until: int) -> int:
        """From when on the batch that ends then holds samples: longer than usual where all come late."""
        return min(until - self._every, max(self._until, until - _LATEST))

    def _changed(self, until: int) -> _Changed:
        """The states that are to be told, of each agent: each minute what changed, all where all are wanted."""
        changed: _Changed = [[] for _ in self.agents]
        timely = until - self._states_at >= _STATES_EVERY
        telling = [not agent.reporter.hung(until) and (timely or agent.tell_all) for agent in self.agents]
        if not any(telling):
            return changed
        if timely:
            self._states_at = until
        current = physics.states_of(self._boards, until)
        new = np.repeat(telling, self._gpus) & (current != self._told)
        for number, agent in enumerate(self.agents):
            columns = self._boards.columns(number)
            if telling[number] and agent.tell_all:
                agent.tell_all = False
                changed[number] = agent.reporter.states(until, _everything(current[:, columns]))
            elif new[:, columns].any():
                metrics, gpus = np.nonzero(new[:, columns])
                values = current[:, columns][metrics, gpus]
                told = zip(gpus.tolist(), metrics.tolist(), values.tolist(), strict=True)
                changed[number] = agent.reporter.states(until, told)
        self._told = np.where(np.repeat(telling, self._gpus), current, self._told)
        return changed


def _everything(current: Integers) -> Iterator[tuple[int, int, int]]:
    for metric, row in enumerate(current.tolist()):
        for gpu, stored in enumerate(row):
            yield gpu, metric, stored


class _Timed:
    """Counts the CPU seconds of a block as spent on making reports."""

    def __init__(self, tally: Tally) -> None:
        self._tally, self._began = tally, 0.0

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._tally.making += time.thread_time() - self._began
