"""What most GPUs of a model at a site have in common, and which differ: for what an owner may have set for all."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Subquery, and_, func, select

from gpufleet_server.alerts import usual
from gpufleet_server.alerts.sight import OF_NODE


def beside_the_usual(relation: FromClause, value: ColumnElement[Any], *kind: ColumnElement[Any]) -> Subquery:
    """The rows of a relation of GPUs with `own`, `usual`: the value that most of their kind have, and `most`, `peers`.

    `most` is how many have the usual value, `peers` how many there are, itself included. A kind is a model at a site,
    and what else is given. Of the whole fleet `Sight.observed` has the same from arrays (`beside`).
    """
    return usual.by_sql(relation, value, *kind)


def differs(row: Any, share: str = "limit_share", peers: str = "limit_peers") -> ColumnElement[bool]:
    """Whether a row has another value than most of its kind: these share (%) of at least so many, by thresholds."""
    return and_(row.own != row.usual, row.peers >= row[peers], 100 * row.most >= row[share] * row.peers)


def of_nodes(relation: FromClause, *more: ColumnElement[Any], which: ColumnElement[bool] | None = None) -> Subquery:
    """A row for each node with a row of a relation of GPUs: who and where, `gpus` of it, and `more`, aggregates."""
    node = [relation.c[name] for name in OF_NODE]
    query = select(*node, func.count().label("gpus"), *more).group_by(*node)
    return (query if which is None else query.where(which)).subquery("of_node")
