"""The table by which servers agree whose turn it is. Only the store's owner can touch it: a reader holds nobody up."""

from sqlalchemy import BigInteger, Column, Connection, String, Table, select

from gpufleet_server.store.errors import StoreError
from gpufleet_server.store.schema import metadata

# Of the first two somebody is elected; the others are only locked, for a transaction.
ALERTS, UPKEEP, ROLLUPS, USAGE = NAMES = ("alerts", "upkeep", "rollups", "usage")

# Not advisory locks, which PostgreSQL gives to whoever may connect. See docs/adr/0012.
leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", String(256), nullable=False, comment="a server, and its start; '': nobody"),
    Column("until", BigInteger, nullable=False, comment="by the database's clock"),
)


def alone(connection: Connection, name: str) -> None:
    """Have what is of this name to oneself until the transaction ends: `gpufleet db` and a server may both be at it.

    On SQLite one writes at a time anyway. StoreError where the store has no such row: nobody would be kept out.
    """
    if connection.dialect.name == "postgresql":
        row = select(leases.c.name).where(leases.c.name == name).with_for_update()
        if connection.execute(row).scalar() is None:
            raise StoreError(f"the table leases has no row {name!r}, which every migrated store has: was it emptied?")
