"""The fleet of the simulated month in a real store: reports through the real ingest, and quiet nodes kept fresh."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE
from gpufleet_server.domain.clock import Correction
from gpufleet_server.domain.use import metrics, use
from gpufleet_server.ingest import newest
from gpufleet_server.ingest.memory import Newest, Node
from gpufleet_server.ingest.prepare import prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.noise import Integers
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import fold
from gpufleet_server.store.schema import nodes
from gpufleet_server.store.tiers import latest, recent
from gpufleet_server.store.tokens import TokenCache
from sqlalchemy import Connection, delete, func, select, update

from tests.bench.month_nodes import INTERVAL_S, MonthNode
from tests.bench.month_story import Turn
from tests.server.alerts.player import Answer

# Of more nodes than this the physics of all is asked at once.
_MANY = 12
_OF_LINKS = [number for number, metric in enumerate(ON_CHANGE) if metric.name.startswith("pcie_link")]
# So many strides until each node has told all that changed.
_TURNS = 12


class MonthFleet:
    """Nodes and their store. `at` is the time of the fleet, µs."""

    def __init__(self, store: Store, these: Sequence[MonthNode], at: int) -> None:
        self.store, self.nodes, self.at = store, these, at
        self.reports = 0
        self._node_ids: list[int] = []
        self._links: Integers | None = None
        self._turn = 0
        self._boards = Boards.of([node.sim for node in these])
        # Those that have told something since quiet ones were last written: they are kept fresh by the second.
        self._touched: set[int] = set()

    @contextmanager
    def ingest(self, happened: object) -> Iterator[Writer]:
        """The real writer, on the fleet's clock."""
        tokens = TokenCache(self.store, lambda: self.at)
        writer = Writer(self.store, tokens, Statistics(), now=lambda: self.at, happened=happened)  # type: ignore[arg-type]
        writer.start()
        try:
            yield writer
        finally:
            writer.stop()

    def begin(self, writer: Writer) -> None:
        """All nodes are seen for the first time."""
        for begin in range(0, len(self.nodes), 500):
            self.tell(writer, range(begin, min(begin + 500, len(self.nodes))))
        with self.store.reading() as connection:
            known = {row.uuid: row.node_id for row in connection.execute(select(nodes.c.uuid, nodes.c.node_id))}
        self._node_ids = [known[node.id] for node in self.nodes]

    @property
    def odd(self) -> set[int]:
        """The nodes of which something is to be told that physics does not say."""
        return {number for number, node in enumerate(self.nodes) if not node.is_plain}

    @property
    def holding(self) -> set[int]:
        """The nodes with GPUs that somebody holds."""
        return {number for number, node in enumerate(self.nodes) if node.holders}

    def changed(self) -> set[int]:
        """The nodes with GPUs whose links are not what they told last; and of all, a few in turn.

        Rules hold links against samples of the same moment. Counters of what is corrected may be hours old.
        """
        now = physics.states_of(self._boards, self.at)[_OF_LINKS]
        before, self._links = self._links, now
        which = np.flatnonzero((now != before).any(axis=0)) if before is not None else np.arange(now.shape[1])
        first, self._turn = np.array(self._boards.first), (self._turn + 1) % _TURNS
        moved = np.searchsorted(first, which, side="right") - 1
        return {*moved.tolist(), *range(self._turn, len(self.nodes), _TURNS)}

    def take(self, number: int, turn: Turn, gpu: int) -> None:
        """Something happens to a node."""
        self.nodes[number].take(turn, gpu, self.at)
        self._touched.add(number)

    def tell(self, writer: Writer, numbers: Iterable[int]) -> None:
        """These nodes report now, through the ingest."""
        some = sorted(numbers)
        answers = []
        for number, samples, states in self._physics(some):
            node = self.nodes[number]
            body = wire.encode(node.report(self.at, samples, states))
            answers.append(Answer())
            writer.put(prepare(body, node.clocks(self.at), node.id, node.sim.hostname, self.at), answers[-1])
        for answer in answers:
            answer.result(timeout=60)
        self._touched |= set(some)
        self.reports += len(some)

    def freshen(self) -> None:
        """Nodes that told something lately go on to report, the same as they did."""
        sending = [number for number in self._touched | self.odd if self.nodes[number].sends]
        sampling = [number for number in sending if self.nodes[number].driver.state == "ok"]
        with self.store.writing() as connection:
            self._seen(connection, sending, self.at)
            ids = [self._node_ids[number] for number in sampling]
            for size in {len(node.names) + node.replaced for node in (self.nodes[number] for number in sampling)}:
                mine = latest.c.node_id.in_(ids) & (func.length(latest.c.ts) == 8 * size)
                connection.execute(update(latest).where(mine).values(ts=wire.pack([self.at] * size, 8)))

    def quiet(self, until: int) -> None:
        """Write what physics says of all nodes that are as they should be, by the ingest's own writing code.

        They count as heard until `until`: until then they are not written again.
        """
        odd = self.odd
        plain = [number for number in range(len(self.nodes)) if number not in odd]
        columns = physics.columns(self._boards, _now(self.at), np.array([INTERVAL_S * 1000]))
        uses = use({name: columns[name][0].astype(np.int64) for name in metrics()}).astype(np.int64)
        with self.store.writing() as connection:
            newest.write(connection, [self._newest(number, columns, uses, until) for number in plain])
            self._seen(connection, plain, until)
        self._touched = set()

    def fold(self) -> None:
        """Put together who used what."""
        fold(self.store, self.at, all_=True)

    def forget(self) -> None:
        """Drop samples that no rule reads: hours are not sealed here."""
        with self.store.writing() as connection:
            connection.execute(delete(recent))

    def _seen(self, connection: Connection, numbers: Sequence[int], at: int) -> None:
        ids = [self._node_ids[number] for number in numbers]
        for begin in range(0, len(ids), 5000):
            mine = nodes.c.node_id.in_(ids[begin : begin + 5000])
            connection.execute(update(nodes).where(mine).values(last_seen=at))

    def _newest(self, number: int, columns: dict[str, Integers], uses: Integers, until: int) -> Node:
        node, mine = self.nodes[number], self._boards.columns(number)
        packed = tuple(columns[metric.name][0, mine].tobytes() for metric in EVERY_SAMPLE)
        count = node.sim.count
        found = Newest([until] * count, [INTERVAL_S * 1000] * count, (*packed, uses[mine].astype(np.int8).tobytes()))
        return Node(node.id, self._node_ids[number], 0, Correction(0), 0, "", "", simulated=True, newest=found)

    def _physics(self, numbers: Sequence[int]) -> Iterator[tuple[int, dict[str, Integers], Integers]]:
        """What physics says of nodes now: samples (metric → GPUs) and states (metrics × GPUs)."""
        whole = len(numbers) > _MANY
        everything = _of(self._boards, self.at) if whole else None
        for number in numbers:
            columns, states = everything or _of(_alone(self.nodes[number]), self.at)
            mine = self._boards.columns(number) if whole else slice(None)
            yield number, {name: values[0, mine] for name, values in columns.items()}, states[:, mine]


@lru_cache(4096)
def _alone(node: MonthNode) -> Boards:
    return Boards.of([node.sim])


def _of(boards: Boards, at: int) -> tuple[dict[str, Integers], Integers]:
    return physics.columns(boards, _now(at), np.array([INTERVAL_S * 1000])), physics.states_of(boards, at)


def _now(at: int) -> Integers:
    return np.array([at], np.int64)
