"""A condition says of arrays what the database says of rows."""

from typing import Any

import numpy as np
import pytest
from gpufleet_server.alerts.given import given as given_rows
from gpufleet_server.alerts.predicate import Values, true_where
from gpufleet_server.store.engine import Store
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, ColumnElement, column, func, literal, null, select, true

_NAMES = ("a", "b", "c")
_ROWS = st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-4, 4))] * 3), min_size=1, max_size=8)
_COLUMNS = {name: column(name, BigInteger) for name in _NAMES}
_NUMBERS: st.SearchStrategy[ColumnElement[Any]] = st.recursive(
    st.one_of(st.sampled_from(list(_COLUMNS.values())), st.integers(-4, 4).map(lambda n: literal(n, BigInteger))),
    lambda part: st.one_of(
        st.tuples(part, part).map(lambda two: two[0] + two[1]),
        st.tuples(part, part).map(lambda two: two[0] - two[1]),
        st.tuples(part, part).map(lambda two: two[0] * two[1]),
        st.tuples(part, part).map(lambda two: two[0] / two[1]),
        part.map(lambda one: -one),
    ),
    max_leaves=4,
)
_WHOLE = st.sampled_from(list(_COLUMNS.values()))
_COMPARED: st.SearchStrategy[ColumnElement[bool]] = st.one_of(
    *(
        st.tuples(_NUMBERS, _NUMBERS).map(lambda two, sign=sign: getattr(two[0], sign)(two[1]))  # type: ignore[misc]
        for sign in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")
    ),
    st.tuples(_WHOLE, st.integers(0, 3)).map(lambda two: two[0].bitwise_and(two[1]) != 0),
    _WHOLE.map(lambda one: one.is_(None)),
    _WHOLE.map(lambda one: one.is_not(None)),
)
_CONDITIONS: st.SearchStrategy[ColumnElement[bool]] = st.recursive(
    _COMPARED,
    lambda part: st.one_of(
        st.tuples(part, part).map(lambda two: two[0] & two[1]),
        st.tuples(part, part).map(lambda two: two[0] | two[1]),
        part.map(lambda one: ~one),
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_CONDITIONS, _ROWS)
def test_arrays_and_rows_agree(store: Store, condition: ColumnElement[bool], rows: list[tuple[Any, ...]]) -> None:
    """Also where values are NULL, and where a sum of them is divided by zero."""
    values = dict(zip(_NAMES, zip(*rows, strict=True), strict=True))
    numbers = {"n": (BigInteger(), range(len(rows)))} | {name: (BigInteger(), list(values[name])) for name in _NAMES}
    # PostgreSQL does not divide by zero.
    assume(store.dialect == "sqlite" or "/" not in str(condition))
    with store.reading() as connection:
        query = select(given_rows(store.dialect, "rows", numbers)).subquery("t")
        asked = select(query.c.n).where(condition)
        told = set(connection.execute(asked).scalars())
    columns = {
        name: Values(np.array([one or 0 for one in values[name]]), np.array([one is not None for one in values[name]]))
        for name in _NAMES
    }
    assert set(np.flatnonzero(true_where(condition, columns, len(rows))).tolist()) == told


def test_what_it_does_not_know_is_refused() -> None:
    """A function belongs into the select around it, and says so."""
    with pytest.raises(TypeError, match="select around it"):
        true_where(func.abs(_COLUMNS["a"]) > 1, {"a": Values(np.zeros(1))}, 1)


def test_constants() -> None:
    """True is true of all, and NULL of none."""
    assert true_where(true(), {}, 3).tolist() == [True] * 3
    assert true_where(_COLUMNS["a"] == null(), {"a": Values(np.zeros(2))}, 2).tolist() == [False] * 2
