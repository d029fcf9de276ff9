"""The nodes that stand next in an order of GPUs: so that a page of GPUs is not looked for among all of them."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, literal, or_, select

from gpufleet_server.queries import paging
from gpufleet_server.queries.paging import Key, Place
from gpufleet_server.store.schema import nodes


def nearby(
    connection: Connection, keys: Sequence[Key], holding: ColumnElement[bool], place: Place | None, count: int
) -> list[int] | None:
    """The nodes that the first `count` GPUs behind a place are of, and perhaps more; None: it may be any of them.

    `keys` are of `nodes`, `place` has a value for each; `holding` is true for nodes that hold one of the GPUs.
    """
    query = select(nodes.c.node_id, *(key.expression for key in keys)).where(holding)
    if place is not None:
        query = query.where(paging.after(keys, place))
    rows = connection.execute(query.order_by(*paging.directions(keys)).limit(count)).all()
    if len(rows) < count:
        return None
    # Nodes of one site and hostname stand at one place, their GPUs among each other.
    places = [rows[-1][1:], *([place] if place is not None else [])]
    same = or_(*(and_(*(k.expression == literal(v) for k, v in zip(keys, at, strict=True))) for at in places))
    return [*{row.node_id for row in rows} | set(connection.execute(select(nodes.c.node_id).where(same)).scalars())]
