"""Runs simulated agents against a server, and counts what was committed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from gpufleet_agent.wire import Ack

from gpufleet_server.simulate.agent import Committed, Sent, SimAgent
from gpufleet_server.simulate.link import Link
from gpufleet_server.simulate.plan import SimNode

_CONNECTIONS = 16
# Seconds from one agent's first report to the next one's, and to the last one's at most.
_APART, _SPREAD = 0.1, 5.0


@dataclass
class Tally:
    """What the server has said is committed, and what waits to be."""

    reports: int = 0
    samples: int = 0
    events: int = 0
    duplicates: int = 0
    waiting: int = 0


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
    ) -> None:
        self._tally = Tally()
        self._told = committed
        self._link = Link(url, _CONNECTIONS, tls)
        period = every if every is not None else max(interval, 10_000)
        self._agents = [SimAgent(node, self._link, join_token, interval, period, self._count) for node in nodes]
        self._spread = min(_APART * len(nodes), _SPREAD, period / 1000)

    async def run(self) -> None:
        """Report until cancelled. The agents' first reports are spread over a few seconds."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, agent in enumerate(self._agents):
                    tasks.create_task(agent.run(self._spread * number / len(self._agents)))
        finally:
            self._link.close()

    async def flush(self) -> None:
        """After `run` was cancelled: every agent closes its last report and sends what it has, once."""
        await asyncio.gather(*(agent.flush() for agent in self._agents))
        self._link.close()

    def tally(self) -> Tally:
        """The counts as of now."""
        self._tally.waiting = sum(agent.waiting for agent in self._agents)
        return self._tally

    def _count(self, sent: Sent, ack: Ack) -> None:
        tally = self._tally
        tally.reports += 1
        tally.duplicates += ack.duplicate
        # What was there already was committed once, whenever that was heard.
        tally.samples += sent.samples
        tally.events += sent.events
        if self._told is not None:
            self._told(sent, ack)
