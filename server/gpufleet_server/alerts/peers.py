"""What most GPUs of a model at a site have in common, and which differ: for what an owner may have set for all."""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Subquery, and_, func, select

from gpufleet_server.alerts.sight import OF_NODE


def beside_the_usual(relation: FromClause, value: ColumnElement[Any], *kind: ColumnElement[Any]) -> Subquery:
    """The rows of a relation of GPUs with `own`, `usual`: the value that most of their kind have, and `most`, `peers`.

    `most` is how many have the usual value, `peers` how many there are, itself included. A kind is a model at a site,
    and what else is given.
    """
    of_kind = (relation.c.site, relation.c.model, *kind)
    alike = func.count().over(partition_by=(*of_kind, value))
    counted = select(
        *relation.c,
        *(column.label(f"kind_{number}") for number, column in enumerate(of_kind)),
        value.label("own"),
        alike.label("alike"),
        func.count(value).over(partition_by=of_kind).label("peers"),
    )
    each = counted.where(value.is_not(None)).subquery("counted")
    kinds = [each.c[f"kind_{number}"] for number in range(len(of_kind))]
    order = (each.c.alike.desc(), each.c.own.desc())
    return select(
        *each.c,
        func.first_value(each.c.own).over(partition_by=kinds, order_by=order).label("usual"),
        func.first_value(each.c.alike).over(partition_by=kinds, order_by=order).label("most"),
    ).subquery("beside")


def differs(beside: Subquery, share: str = "limit_share", peers: str = "limit_peers") -> ColumnElement[bool]:
    """Whether a row has another value than most of its kind: these share (%) of at least so many, by thresholds."""
    c = beside.c
    return and_(c.own != c.usual, c.peers >= c[peers], 100 * c.most >= c[share] * c.peers)


def of_nodes(relation: FromClause, *more: ColumnElement[Any], which: ColumnElement[bool] | None = None) -> Subquery:
    """A row for each node with a row of a relation of GPUs: who and where, `gpus` of it, and `more`, aggregates."""
    node = [relation.c[name] for name in OF_NODE]
    query = select(*node, func.count().label("gpus"), *more).group_by(*node)
    return (query if which is None else query.where(which)).subquery("of_node")
