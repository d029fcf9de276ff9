"""Whatever a variable's value is, a real PostgreSQL sees a text and nothing but that text."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from tests.dashboards.grafana_sql import ask
from tests.dashboards.grafana_sql.front import ALL, Asked, Range, Variable
from tests.dashboards.grafana_sql.macros import MacroError

TIME = Range(1_523_556_000_000, 1_523_559_600_000)
# As boards write them: one value between quotes, several in a list, and for what may be none in an array.
ONE, IN, ARRAY = "SELECT '$site'", "SELECT v FROM known WHERE v IN ($site)", "SELECT unnest(ARRAY[$site]::text[])"
# What Grafana's back end takes for its own wherever it stands.
_MEANS_SOMETHING = re.compile(r"\$\w+\(|\$__interval", re.ASCII)
HOSTILE = [
    "it's", "''", "'", "'; DROP TABLE known; --", "'); DROP TABLE known; --", "x') OR ('1'='1", "\\", "\\'", "a\\'b\\",
    'b"c', '"; SELECT 1; --', "-- no", "/* no */", "/*", "*/", "$$", "$tag$ no $tag$", "$1", "$site", "${site:raw}",
    "[[site]]", "%s %(x)s %%", "{a,b}", "a,b", "NULL", "(none)", "", " ", "\n\r\t", "zażółć 漢字 🦄", "\u202e", "é",
    "E'\\x27'", "U&'\\0027'", "a" * 10_000, "All", "$__from", "$__timeFilter", "$__timeFrom", "__timeFilter(x)",
]  # fmt: skip


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[Connection[Any]]:
    """A connection to the server that all tests share; the table is its own."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE known (v text)")
        yield connection


def _values(database: Connection[Any], query: str, variable: Variable) -> list[Any]:
    frame = ask.ask(database, query, "table", Asked(TIME, [variable]))
    return frame.fields[0].values if frame.fields else []


def _one(text: str) -> Variable:
    return Variable("site", text)


def _many(*texts: str, multi: bool = True) -> Variable:
    return Variable("site", texts if multi else texts[0], multi=multi, include_all=True, options=texts)


def _know(database: Connection[Any], *texts: str) -> None:
    database.execute("TRUNCATE known")
    database.cursor().executemany("INSERT INTO known VALUES (%s)", [(text,) for text in {*texts, "another"}])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_come_back_as_they_are(database: Connection[Any], text: str) -> None:
    """Quotes, statements, comments, backslashes, references and macros' names are a text to PostgreSQL."""
    assert _values(database, ONE, _one(text)) == [text]
    assert _values(database, ARRAY, _many("fra1", text)) == ["fra1", text]
    assert _values(database, ARRAY, _many(text, multi=False)) == [text]
    _know(database, text)
    assert _values(database, IN, _many("fra1", text)) == [text]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4))
def test_any_text_comes_back_as_it_is(database: Connection[Any], texts: list[str]) -> None:
    """Any texts, one or several, but for what Grafana takes for its own wherever it stands."""
    assume(not any(map(_MEANS_SOMETHING.search, texts)) and ALL not in texts)
    assert _values(database, ONE, _one(texts[0])) == texts[:1]
    assert _values(database, ARRAY, _many(*texts)) == texts


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("'\"\\$_()-/*;,{}[]: atimeFr\n", max_size=30), min_size=1, max_size=4))
def test_texts_of_nothing_but_signs_come_back_as_they_are(database: Connection[Any], texts: list[str]) -> None:
    """The same of texts that are made of what means something to SQL or to Grafana."""
    assume(not any(map(_MEANS_SOMETHING.search, texts)))
    assert _values(database, ARRAY, _many(*texts)) == texts


def test_no_value_at_all(database: Connection[Any]) -> None:
    """An empty choice is an empty array; in a list it is no SQL, which is why boards write arrays."""
    none = Variable("site", (), multi=True)
    assert _values(database, ARRAY, none) == []
    with pytest.raises(psycopg.errors.SyntaxError):
        _values(database, IN, none)


def test_formats_that_boards_do_not_use_would_let_out(database: Connection[Any]) -> None:
    """:raw and :csv are no texts, :singlequote is none to PostgreSQL, and :sqlstring changes a quotation mark."""
    for form in ("raw", "csv", "singlequote"):
        with pytest.raises(psycopg.errors.SyntaxError):
            _values(database, f"SELECT ${{site:{form}}}", _one("it's"))
    assert _values(database, "SELECT ${site:sqlstring}", _one('b"c')) == ['b\\"c']


@pytest.mark.parametrize("text", ["$__timeFilter(x)", "$__timeFrom()", "$__time(a,", "$nothing(x)", "$__interval"])
def test_a_macro_within_a_value_is_expanded_by_grafana(database: Connection[Any], text: str) -> None:
    """Grafana looks for macros in texts too: such a value is another one, or an error. The reader's rights bound it."""
    try:
        found = _values(database, ARRAY, _many(text))
    except (MacroError, psycopg.Error):
        return
    assert found != [text]


def test_statements_would_run_if_a_value_were_taken_raw(database: Connection[Any]) -> None:
    """That the tests above mean something: what is not quoted does run."""
    _know(database)
    query = "SELECT v FROM known WHERE v IN ('${site:raw}')"
    _values(database, query, _one("'); INSERT INTO known VALUES ('pwned'); --"))
    assert ("pwned",) in database.execute("SELECT v FROM known").fetchall()
