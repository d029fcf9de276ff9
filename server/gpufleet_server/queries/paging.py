"""Keyset pages: a cursor is the place of the last row seen, so rows that come or go move no other between pages."""

import base64
import binascii
import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Integer, Row, Select, and_, cast, func, literal, or_

from gpufleet_server.domain.problem import Problem

MAX_CURSOR = 4096
_INT64 = 1 << 63
_Item = TypeVar("_Item")
# A value for each key of an order.
Place = Sequence[int | str]


@dataclasses.dataclass(frozen=True)
class Key:
    """One part of an order. The expression is never NULL and yields values of `type`."""

    expression: ColumnElement[Any]
    type: type[int] | type[str]
    descending: bool = False


@dataclasses.dataclass(frozen=True)
class Order:
    """A total order of rows (its last key is unique) and the name it has in cursors."""

    name: str
    keys: Sequence[Key]


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """Some of a listing. `next` is the cursor of what follows, None at the end."""

    items: list[_Item]
    next: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class CountedPage(Page[_Item]):
    """The same, with how many the whole listing has."""

    total: int


def nulls_last(column: ColumnElement[Any], type: type[int] | type[str], *, descending: bool = False) -> list[Key]:
    """The keys that sort by a nullable column; rows without a value come last either way."""
    return [Key(cast(column.is_(None), Integer), int), Key(func.coalesce(column, type()), type, descending)]


def page(query: Select[Any], order: Order, limit: int, cursor: str | None) -> Select[Any]:
    """The query for one page and one row more, its keys as last columns. Problem 422 where the cursor is bad."""
    query = query.add_columns(*(key.expression for key in order.keys))
    behind = place(order, cursor)
    if behind is not None:
        query = query.where(after(order.keys, behind))
    return query.order_by(*directions(order.keys)).limit(limit + 1)


def directions(keys: Sequence[Key]) -> list[ColumnElement[Any]]:
    """The keys as what rows are sorted by."""
    return [key.expression.desc() if key.descending else key.expression.asc() for key in keys]


def cut(rows: Sequence[Row[Any]], order: Order, limit: int) -> tuple[Sequence[Row[Any]], str | None]:
    """The rows of a page, and the cursor of the next if there is one."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], _encode(order, rows[limit - 1][-len(order.keys) :])


def after(keys: Sequence[Key], place: Place) -> ColumnElement[bool]:
    """Rows behind a place: equal in the first keys and behind in the next, for every number of first keys."""
    ways = []
    same: list[ColumnElement[bool]] = []
    for key, value in zip(keys, place, strict=True):
        at = literal(value)
        ways.append(and_(*same, key.expression < at if key.descending else key.expression > at))
        same.append(key.expression == at)
    return or_(*ways)


def _encode(order: Order, place: Place) -> str:
    text = json.dumps([order.name, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place(order: Order, cursor: str | None) -> Place | None:
    """The place of a cursor, a value for each key; None without one. Problem 422 where it is bad."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = json.loads(text)
    except (binascii.Error, ValueError, RecursionError):
        raise _bad(cursor) from None
    if not isinstance(found, list) or len(found) != len(order.keys) + 1 or found[0] != order.name:
        raise _bad(cursor)
    if not all(_fits(key, value) for key, value in zip(order.keys, found[1:], strict=True)):
        raise _bad(cursor)
    decoded: list[int | str] = found[1:]
    return decoded


def _fits(key: Key, value: object) -> bool:
    if key.type is str:
        # A NUL or half a surrogate pair is nothing that a database takes.
        return isinstance(value, str) and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)
    return isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64


def _bad(cursor: str) -> Problem:
    return Problem(422, f"{cursor[:80]!r} is no cursor of this listing in this order: take `next` as it came", "cursor")
