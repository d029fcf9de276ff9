"""VictoriaMetrics with the last hours of the same fleet: every GPU's series of the metrics that are asked about."""

import urllib.parse
from collections.abc import Callable, Iterator

import httpx
import numpy as np
from gpufleet_agent.catalogue import BY_NAME, RESERVED, Kind
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.identity import gpu_uuid
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.tiers import HOUR

from tests.bench import query_blocks
from tests.bench.fleet_load import peer_name
from tests.bench.peers import remote_write
from tests.bench.peers.peer import VictoriaMetrics
from tests.bench.query_fleet import MINUTE, PER_NODE, ROUND, QueryFleet
from tests.bench.query_questions import PANEL, PromQL

METRICS = (*PANEL, "energy")
# Samples of so many nodes in one request.
_AT_ONCE = 25


class QueriedVictoriaMetrics:
    """What is asked beside gpufleet. It holds `hours` of samples, 60 s apart."""

    def __init__(self, peer: VictoriaMetrics, of: QueryFleet, hours: int) -> None:
        self.peer, self._of, self.hours = peer, of, hours
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{peer.port}", timeout=120)

    def fill(self, say: Callable[[str], None]) -> None:
        """Feed it, and have it write all to its files."""
        for body in self._bodies():
            self._http.post(remote_write.PATH, content=body, headers=remote_write.HEADERS).raise_for_status()
        self.peer.settle()
        say(f"VictoriaMetrics filled: {self.peer.disk_bytes() / 1e6:,.0f} MB")

    def holds(self, asked: PromQL) -> bool:
        """Whether its samples go back as far as that."""
        return asked.reach <= self.hours * HOUR

    def ask(self, asked: PromQL) -> int:
        """How many series or, over time, points it answers."""
        return sum(self._ask(query, asked) for query in asked.queries)

    def close(self) -> None:
        """End it."""
        self._http.close()
        self.peer.stop()

    def _ask(self, query: str, asked: PromQL) -> int:
        given = {"query": query, "time": str(asked.end // 10**6)}
        path = "/api/v1/query"
        if asked.step:
            path, step = "/api/v1/query_range", asked.step // 10**6
            # Its points are at the ends of steps.
            given = {"query": query, "start": str((asked.end - asked.reach) // 10**6 + step), "step": f"{step}s"}
            given["end"] = str(asked.end // 10**6)
        answer = self._http.get(f"{path}?{urllib.parse.urlencode(given)}").raise_for_status()
        found = answer.json()["data"]["result"]
        return sum(len(each["values"]) for each in found) if asked.step else len(found)

    def _bodies(self) -> Iterator[bytes]:
        """Requests in which each node has the samples of its template."""
        # A little more, so that what looks back all of the time finds a sample before it.
        at = query_blocks.times(self._of.scope.now - self.hours * HOUR - 15 * MINUTE, self._of.scope.now, MINUTE)
        values = list(self._values(at))
        messages: list[bytes] = []
        for number, node in enumerate(self._of.nodes):
            encoder = remote_write.NodeEncoder(list(_labels(node)))
            messages.append(encoder.message(at // 1000, *values[number % len(values)]))
            if len(messages) == _AT_ONCE or number == len(self._of.nodes) - 1:
                yield remote_write.body(messages)
                messages = []

    def _values(self, at: query_blocks.Ints) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(self._of.templates), ROUND):
            boards = Boards.of(self._of.templates[first : first + ROUND])
            block = query_blocks.sampled(boards, at, MINUTE // 1000)
            yield from (_of_node(block, boards.columns(number)) for number in range(len(boards.nodes)))


def _of_node(block: Block, mine: slice) -> tuple[np.ndarray, np.ndarray]:
    """Values in their units and which of them are there: series × times. What is counted is counted up."""
    values, present = [], []
    for name in METRICS:
        metric, stored = BY_NAME[name], block.columns[name][:, mine].T
        there = stored >= metric.lowest + RESERVED
        known = np.where(there, stored, 0)
        known = known.cumsum(axis=1) if metric.kind is Kind.INCREMENT else known
        values.append(known * metric.step.numerator / metric.step.denominator)
        present.append(there)
    return np.concatenate(values), np.concatenate(present)


def _labels(node: SimNode) -> Iterator[dict[str, str]]:
    of_node = {"job": "gpufleet", "instance": f"{node.hostname}:9400", "hostname": node.hostname}
    of_node |= {"site": node.site.name, "model": node.model.name}
    for name in METRICS:
        for slot in range(PER_NODE):
            yield {"__name__": peer_name(name), "gpu": str(slot), "uuid": gpu_uuid(node, slot)} | of_node
