"""What is usual among GPUs of one model at one site, beside what each has: on arrays of the fleet, and in SQL."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, FromClause, Subquery, func, select

from gpufleet_server.alerts.predicate import Values

Ints = NDArray[np.int64]
# The columns of both: what it has, what most of its kind have, how many of them, and how many there are, itself too.
COLUMNS = ("own", "usual", "most", "peers")


def by_arrays(places: Sequence[Ints], kinds: Sequence[Values], own: Values) -> dict[str, Values]:
    """COLUMNS of each; `places` (site, model) and `kinds` part them into kinds. Where `own` is not known none is."""
    known = np.broadcast_to(own.known, np.shape(own.data))
    codes = [*places, *(_codes(kind) for kind in kinds)]
    group = np.unique(np.stack(codes), axis=1, return_inverse=True)[1].reshape(-1)[known]
    values, value = np.unique(own.data[known], return_inverse=True)
    pairs, alike = np.unique(np.stack([group, value]), axis=1, return_counts=True)
    # Of values that as many have the largest counts: pairs are sorted by it.
    order = np.lexsort((pairs[1], alike, pairs[0]))
    last = order[np.append(pairs[0][order][1:] != pairs[0][order][:-1], True)] if len(order) else order
    best = np.zeros(group.max(initial=-1) + 1, np.int64)
    best[pairs[0][last]] = last
    peers = np.bincount(group, minlength=len(best))
    mine = best[group]
    found = (own.data[known], values[pairs[1][mine]], alike[mine], peers[group])
    return {name: _spread(column, known) for name, column in zip(COLUMNS, found, strict=True)}


def by_sql(relation: FromClause, own: ColumnElement[Any], *kind: ColumnElement[Any]) -> Subquery:
    """The rows of a relation of GPUs with COLUMNS. Where `own` is NULL there is no row."""
    of_kind = (relation.c.site, relation.c.model, *kind)
    alike = func.count().over(partition_by=(*of_kind, own))
    counted = select(
        *relation.c,
        *(column.label(f"kind_{number}") for number, column in enumerate(of_kind)),
        own.label("own"),
        alike.label("alike"),
        func.count(own).over(partition_by=of_kind).label("peers"),
    )
    each = counted.where(own.is_not(None)).subquery("counted")
    kinds = [each.c[f"kind_{number}"] for number in range(len(of_kind))]
    order = (each.c.alike.desc(), each.c.own.desc())
    return select(
        *each.c,
        func.first_value(each.c.own).over(partition_by=kinds, order_by=order).label("usual"),
        func.first_value(each.c.alike).over(partition_by=kinds, order_by=order).label("most"),
    ).subquery("beside")


def _codes(values: Values) -> Ints:
    data = np.unique(values.data, return_inverse=True)[1].astype(np.int64)
    return np.where(values.known, data, -1)


def _spread(column: NDArray[Any], known: NDArray[np.bool_]) -> Values:
    data = np.zeros(len(known), column.dtype)
    data[known] = column
    return Values(data, known)
