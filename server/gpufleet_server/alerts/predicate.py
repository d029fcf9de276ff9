"""A condition on single GPUs, written once as SQL, tried on arrays of the whole fleet: who passes is asked for further.

A database takes half a second to take the packed samples of 100,000 GPUs apart; arrays take milliseconds. NULL is what
it is in SQL: neither true nor false.
"""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BindParameter, ColumnClause, ColumnElement
from sqlalchemy.sql import elements, operators

Mask = NDArray[np.bool_]


class Values(NamedTuple):
    """Values, or one for all, and where they are known: elsewhere they are NULL."""

    data: Any
    known: Any = True


Columns = Mapping[str, Values]
_Two = Callable[[Any, Any], Any]

_TWO: dict[Any, _Two] = {
    operators.lt: operator.lt,
    operators.le: operator.le,
    operators.gt: operator.gt,
    operators.ge: operator.ge,
    operators.eq: operator.eq,
    operators.ne: operator.ne,
    operators.add: operator.add,
    operators.sub: operator.sub,
    operators.mul: operator.mul,
}


def true_where(predicate: ColumnElement[bool], columns: Columns, length: int) -> Mask:
    """Where it is true of `columns`, each of `length` values. TypeError where it has what is not known here."""
    found = _values(predicate, columns)
    return np.broadcast_to(np.logical_and(found.data, found.known), (length,))


@functools.singledispatch
def _values(part: Any, _columns: Columns) -> Values:
    raise TypeError(f"a condition on GPUs can't have {part} ({type(part).__name__}): put it into the select around it")


@_values.register
def _column(part: ColumnClause, columns: Columns) -> Values:  # type: ignore[type-arg]
    return columns[part.name]


@_values.register
def _number(part: BindParameter, _columns: Columns) -> Values:  # type: ignore[type-arg]
    return Values(0, False) if part.value is None else Values(part.value)


@_values.register
def _null(_part: elements.Null, _columns: Columns) -> Values:
    return Values(0, False)


@_values.register(elements.True_)
@_values.register(elements.False_)
def _constant(part: Any, _columns: Columns) -> Values:
    return Values(isinstance(part, elements.True_))


@_values.register
def _grouping(part: elements.Grouping, columns: Columns) -> Values:  # type: ignore[type-arg]
    return _values(part.element, columns)


@_values.register
def _several(part: elements.ExpressionClauseList, columns: Columns) -> Values:  # type: ignore[type-arg]
    """Conditions joined, or a sum or product of several."""
    values = (_values(each, columns) for each in part.clauses)
    if part.operator in (operators.and_, operators.or_):
        return functools.reduce(_both if part.operator is operators.and_ else _either, values)
    return functools.reduce(functools.partial(_applied, part.operator), values)


@_values.register
def _unary(part: elements.UnaryExpression, columns: Columns) -> Values:  # type: ignore[type-arg]
    data, known = _values(part.element, columns)
    if part.operator is operators.neg:
        return Values(np.negative(data), known)
    if part.operator is operators.inv:
        return Values(np.logical_not(data), known)
    raise TypeError(f"a condition on GPUs can't have {part}: put it into the select around it")


@_values.register
def _binary(part: elements.BinaryExpression, columns: Columns) -> Values:  # type: ignore[type-arg]
    left, right = _values(part.left, columns), _values(part.right, columns)
    if part.operator in (operators.is_, operators.is_not):
        return _is(left, right, opposite=part.operator is operators.is_not)
    return _applied(part.operator, left, right)


def _applied(by: Any, left: Values, right: Values) -> Values:
    known = np.logical_and(left.known, right.known)
    if by is operators.bitwise_and_op:
        return Values(np.bitwise_and(_whole(left), _whole(right)), known)
    if by is operators.truediv:
        not_zero = np.not_equal(right.data, 0)
        return Values(np.divide(left.data, np.where(not_zero, right.data, 1)), np.logical_and(known, not_zero))
    if by in _TWO:
        return Values(_TWO[by](left.data, right.data), known)
    raise TypeError(f"a condition on GPUs can't have {getattr(by, '__name__', by)}: put it into the select around it")


def _whole(values: Values) -> Any:
    return np.asarray(values.data).astype(np.int64)


def _is(left: Values, right: Values, *, opposite: bool) -> Values:
    """`IS NULL`, `IS true`: always known."""
    if right.known is False:
        same: Any = np.logical_not(left.known)
    else:
        same = np.logical_and(left.known, np.equal(left.data, right.data))
    return Values(np.logical_not(same) if opposite else same)


def _both(one: Values, other: Values) -> Values:
    false = np.logical_or(_false(one), _false(other))
    return Values(np.logical_not(false), np.logical_or(false, np.logical_and(one.known, other.known)))


def _either(one: Values, other: Values) -> Values:
    true = np.logical_or(_true(one), _true(other))
    return Values(true, np.logical_or(true, np.logical_and(one.known, other.known)))


def _true(values: Values) -> Any:
    return np.logical_and(values.data, values.known)


def _false(values: Values) -> Any:
    return np.logical_and(np.logical_not(values.data), values.known)
