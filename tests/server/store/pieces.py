"""Pieces of usage as reports bring them, of two small nodes: for tests of what is added up of them."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import HOUR
from gpufleet_server.store.usage import RECORD, SUMMED, usage_fleet_hours, usage_places, usage_recent
from hypothesis import strategies as st
from sqlalchemy import func, insert, select

from tests.server.fleet import SECOND, Fleet
from tests.server.used import MIDNIGHT, Used

MINUTE = 60 * SECOND
PLACE = (usage_places.c.site, usage_places.c.model, usage_places.c.simulated)


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Pieces of usage of two nodes with two GPUs and three holders, as reports bring them."""

    store: Store
    nodes: tuple[int, int]
    holders: tuple[int, ...]

    def come(self, *pieces: tuple[int, int, int, int, int, int]) -> None:
        """A report each: (node, slot, holder, begin, end, held in %); 4 GiB of memory, half of the SMs."""
        rows = []
        for node, slot, holder, begin, end, held in pieces:
            ms = (end - begin) // 1000
            given = (4 << 30, 5 << 30, ms, ms - ms * held // 100, ms * held // 100, 1, slot, -1, 5000)
            record = RECORD.pack(self.holders[holder], begin, end, *given)
            rows.append({"node_id": self.nodes[node], "received_at": end, "pieces": record, "partitions": None})
        with self.store.writing() as connection:
            connection.execute(insert(usage_recent), rows)

    def hours(self, column: str = "held") -> dict[int, int]:
        """Of all owners together, by hours after MIDNIGHT."""
        c = usage_fleet_hours.c
        with self.store.reading() as connection:
            found = connection.execute(select(c.hour, func.sum(c[column])).group_by(c.hour).order_by(c.hour))
            return {(hour - MIDNIGHT) // HOUR: int(total) for hour, total in found}

    def rows(self) -> list[Any]:
        """All rows of hours."""
        c = usage_fleet_hours.c
        key, sums = (c.hour, c.owner_id, *PLACE), (c[name] for name in (*SUMMED, "memory_most"))
        query = select(*key, *sums).join(usage_places, usage_places.c.place_id == c.place_id)
        with self.store.reading() as connection:
            return list(connection.execute(query.order_by(*key)))


def pieces_of(store: Store) -> Pieces:
    """No piece yet."""
    fleet, used = Fleet(store), Used(store)
    alpha, beta = fleet.node("alpha", site="east"), fleet.node("beta", simulated=True)
    for node_id, number in itertools.product((alpha, beta), range(2)):
        fleet.gpu(node_id, f"GPU-{node_id}-{number}", model="H100" if number else None)
    held: Sequence[tuple[Any, dict[str, str]]] = (
        ("slurm", {"job": "1", "user": "alice"}),
        ("slurm", {"job": "2", "user": "bob"}),
        ("nobody", {}),
    )
    return Pieces(store, (alpha, beta), tuple(used.holder(alpha, kind, **words) for kind, words in held))


# What `come` takes.
PIECES = st.tuples(
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(0, 2),
    st.integers(0, 3000),
    st.integers(1, 200),
    st.integers(0, 100),
).map(lambda it: (*it[:3], MIDNIGHT + it[3] * MINUTE, MIDNIGHT + (it[3] + it[4]) * MINUTE, it[5]))
