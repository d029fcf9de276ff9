"""Puts rows of planes into a store."""

from gpufleet_server.store import blocks
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.engine import Store
from gpufleet_server.store.partitions import make_ahead
from gpufleet_server.store.tiers import SEALED, Tier, begin_of
from sqlalchemy import insert


def sealed(store: Store, node_id: int, block: Block) -> None:
    """One row of samples: all of them lie in the hour in which the first one ended."""
    put(store, SEALED, node_id, block)


def put(store: Store, tier: Tier, node_id: int, block: Block) -> None:
    """One row of a tier."""
    span = begin_of(int(block.times[0]), tier.span)
    with store.writing() as connection:
        make_ahead(connection, span)
        connection.execute(
            insert(tier.table).values({"node_id": node_id, "span": span} | blocks.to_planes(block, tier))
        )
