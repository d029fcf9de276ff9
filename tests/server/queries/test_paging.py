"""Pages hold every row once, whatever the order, and cursors that nobody gave out are refused."""

import base64
import json
from collections.abc import Iterator

import pytest
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import paging
from gpufleet_server.queries.paging import Key, Order
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, create_engine, insert, select

things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger),
    Column("word", String),
)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
ROWS = st.lists(st.tuples(st.none() | st.integers(-2, 2) | INT64, st.none() | WORDS), max_size=25)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A database with an empty table."""
    engine = create_engine("sqlite://")
    with engine.connect() as open_connection:
        things.metadata.create_all(open_connection)
        yield open_connection
    engine.dispose()


def order(first: bool, second: bool) -> Order:
    """By number and word, each either way, then by id."""
    numbers = paging.nulls_last(things.c.number, int, descending=first)
    return Order("o", [*numbers, *paging.nulls_last(things.c.word, str, descending=second), Key(things.c.id, int)])


def pages(connection: Connection, by: Order, limit: int) -> Iterator[list[int]]:
    """The ids of each page."""
    cursor = None
    while True:
        rows, cursor = paging.cut(connection.execute(paging.page(select(things), by, limit, cursor)).all(), by, limit)
        yield [row.id for row in rows]
        if cursor is None:
            return


def expected(rows: list[tuple[int, int | None, str | None]], first: bool, second: bool) -> list[int]:
    """The same order by Python's sort, which is stable either way; SQLite compares words by their bytes."""
    words = [row for row in rows if row[2] is not None]
    words.sort(key=lambda row: (row[2] or "").encode(), reverse=second)
    by_word = words + [row for row in rows if row[2] is None]
    numbers = [row for row in by_word if row[1] is not None]
    numbers.sort(key=lambda row: row[1] or 0, reverse=first)
    return [row[0] for row in numbers + [row for row in by_word if row[1] is None]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(ROWS, st.booleans(), st.booleans(), st.integers(1, 7))
def test_pages_are_the_listing_cut_up(
    connection: Connection, rows: list[tuple[int | None, str | None]], first: bool, second: bool, limit: int
) -> None:
    """Every row is on one page, in the order that one sort gives, NULLs last; each page but the last is full."""
    connection.execute(things.delete())
    numbered = [(number, *row) for number, row in enumerate(rows, 1)]
    if numbered:
        connection.execute(insert(things), [dict(zip(("id", "number", "word"), row, strict=True)) for row in numbered])
    found = list(pages(connection, order(first, second), limit))
    assert [one for page in found for one in page] == expected(numbered, first, second)
    assert all(len(page) == limit for page in found[:-1])


def test_rows_that_come_move_no_other(connection: Connection) -> None:
    """What is inserted before the place of a cursor neither repeats nor hides a row behind it."""
    connection.execute(things.delete())
    connection.execute(insert(things), [{"id": n, "number": n * 10} for n in range(1, 7)])
    walk = pages(connection, order(False, False), 2)
    seen = next(walk)
    connection.execute(insert(things), [{"id": 100 + n, "number": n} for n in range(15)])
    connection.execute(things.delete().where(things.c.id == 2))
    assert seen + [one for page in walk for one in page] == [1, 2, 3, 4, 5, 6]


def cursor_of(content: object) -> str:
    """Such a cursor as the server makes."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@given(st.text(max_size=60))
def test_rubbish_is_no_cursor(text: str) -> None:
    """Any text is refused by name."""
    with pytest.raises(Problem) as refused:
        paging.page(select(things), order(False, False), 5, text)
    assert (refused.value.status, refused.value.field) == (422, "cursor")


@pytest.mark.parametrize(
    "content",
    [
        ["other", 0, 1, 0, "a", 1],
        ["o", 0, 1, 0, "a"],
        ["o", 0, 1, 0, "a", "1"],
        ["o", 0, 1, 0, 7, 1],
        ["o", 0, 1.5, 0, "a", 1],
        ["o", 0, True, 0, "a", 1],
        ["o", 0, 1 << 63, 0, "a", 1],
        ["o", 0, 1, 0, "\0", 1],
        ["o", 0, 1, 0, "\ud800", 1],
        {"o": 1},
        "o",
    ],
)
def test_a_forged_cursor_is_refused(content: object) -> None:
    """Another order, a key too few, wrong types and what no database takes."""
    with pytest.raises(Problem) as refused:
        paging.page(select(things), order(False, False), 5, cursor_of(content))
    assert refused.value.field == "cursor"
