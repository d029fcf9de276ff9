"""The places that the fleet's usage and its events are told by: a site and a model of GPUs, real or simulated."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, FromClause, and_, func, select, text

from gpufleet_server.store.bulk import insert_into, insert_new
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.usage import usage, usage_places

# Site, model, simulated; '' where there is none.
Place = tuple[str, str, bool]
_NAMES = ("site", "model", "simulated")
# Intervals with their nodes and GPUs, by which each has its place.
PLACED: FromClause = usage.join(nodes, nodes.c.node_id == usage.c.node_id).join(
    gpus, and_(gpus.c.node_id == usage.c.node_id, gpus.c.slot == usage.c.slot)
)


def place_ids(connection: Connection, places: Sequence[Place]) -> dict[Place, int]:
    """The ids of these places; those that are new are added. Others may be at it, too: ask for all of them at once."""
    known = _known(connection)
    lacking = sorted(set(places) - known.keys())
    if lacking:
        insert_new(connection, usage_places, [dict(zip(_NAMES, place, strict=True)) for place in lacking])
        known = _known(connection)
    return known


def add_places(connection: Connection) -> None:
    """Add those of all GPUs there are."""
    site, model = func.coalesce(nodes.c.site, ""), func.coalesce(gpus.c.model, "")
    query = select(site, model, nodes.c.simulated).join_from(gpus, nodes, nodes.c.node_id == gpus.c.node_id)
    # On SQLite ON CONFLICT would be a part of the join without a WHERE.
    there = query.where(gpus.c.gpu_id > 0).distinct()
    connection.execute(insert_into(connection, usage_places).from_select(list(_NAMES), there).on_conflict_do_nothing())
    if connection.dialect.name == "postgresql":
        # So small a table is never analysed by itself, and what boards ask is planned by it.
        connection.execute(text("ANALYZE usage_places"))


def at_place(model: ColumnElement[str]) -> ColumnElement[bool]:
    """That a row of `usage_places` is that of a node and a GPU's model, which is not NULL."""
    site = func.coalesce(nodes.c.site, "")
    same = usage_places.c.simulated == nodes.c.simulated
    return and_(usage_places.c.site == site, usage_places.c.model == model, same)


def _known(connection: Connection) -> dict[Place, int]:
    query = select(*(usage_places.c[name] for name in _NAMES), usage_places.c.place_id)
    return {(row.site, row.model, row.simulated): row.place_id for row in connection.execute(query)}
