"""SQL of panels: names that are gone fail, and PostgreSQL reads the tier that is asked for, and no other."""

from collections.abc import Iterator

import psycopg
import pytest
from gpufleet_dashboards.sql import (
    BEGIN,
    END,
    HOUR_MS,
    MINUTE_MS,
    Branch,
    Tier,
    by_tier,
    chosen,
    is_one,
    offered,
    within,
)
from gpufleet_server.store.grafana.view import Column, View

COLUMNS = tuple(Column(name, "bigint", "A number.") for name in ("at", "value"))
FINE = View("fine", "A row.", COLUMNS, "SELECT 1")
COARSE = View("coarse", "A row.", COLUMNS, "SELECT 1")
BLOCKS = View("blocks", "A row.", (*COLUMNS, Column("span", "bigint", "A block.")), "SELECT 1", span=3_600_000_000)
TIERS = (Tier(FINE, MINUTE_MS, 5 * MINUTE_MS), Tier(COARSE, HOUR_MS))


def values(branch: Branch) -> str:
    """The sum of each of a panel's intervals."""
    return f"SELECT {branch.time} AS time, sum({branch['value']}) AS value FROM {branch} WHERE {branch.here} GROUP BY 1"


def asked(sql: str, interval_ms: int, begin: int = 0, end: int = 10_000) -> str:
    """The statement with Grafana's values in it."""
    given = {"$__interval_ms": interval_ms, "$__unixEpochFrom()": begin, "$__unixEpochTo()": end}
    for name, value in given.items():
        sql = sql.replace(name, str(value))
    return sql


Database = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def tables(postgres_database: str) -> Iterator[Database]:
    """A connection to a database with the two views' tables: 20 minutes of ones, and an hour of 60."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA grafana")
        for name in ("fine", "coarse"):
            connection.execute(f"CREATE TABLE grafana.{name} (at bigint, value bigint)".encode())
        connection.execute("INSERT INTO grafana.fine SELECT minute * 60000000, 1 FROM generate_series(0, 19) minute")
        connection.execute("INSERT INTO grafana.coarse VALUES (0, 60)")
        yield connection


def test_a_column_that_is_gone_fails_when_it_is_asked_for() -> None:
    """And the error says where it was looked for."""
    with pytest.raises(KeyError, match=r"grafana.fine has no column 'valeu'"):
        by_tier(TIERS, lambda branch: f"SELECT {branch['valeu']} FROM {branch} WHERE {branch.here}")


@pytest.mark.parametrize(("interval", "sums"), [(60_000, [1] * 20), (120_000, [2] * 10), (300_000, [60])])
def test_the_tier_of_the_interval_is_read(tables: Database, interval: int, sums: list[int]) -> None:
    """Minutes below five minutes, in intervals of the panel; then hours, however much shorter the interval is."""
    rows = tables.execute(f"{asked(by_tier(TIERS, values), interval)} ORDER BY 1".encode()).fetchall()
    assert [int(str(value)) for _, value in rows] == sums


@pytest.mark.parametrize(("interval", "read", "left"), [(60_000, "fine", "coarse"), (3_600_000, "coarse", "fine")])
def test_postgresql_leaves_the_other_tiers_unread(tables: Database, interval: int, read: str, left: str) -> None:
    """They are not even in the plan."""
    plan = str(tables.execute(f"EXPLAIN {asked(by_tier(TIERS, values), interval)}".encode()).fetchall())
    assert f"on {read}" in plan
    assert f"on {left}" not in plan


def test_an_interval_is_a_whole_number_of_rows() -> None:
    """Else sums would go up and down with how many rows fall into it."""
    branch = Branch(TIERS[0], 0)
    assert asked(branch.width_us, 90_000) == "((90000 + 59999) / 60000 * 60000 * 1000::bigint)"


def test_blocks_are_looked_for_by_their_span() -> None:
    """From one length before the range on, for a block begins before the rows in it."""
    assert f"span >= {BEGIN} - 3600000000::bigint AND span < {END}" in Branch(Tier(BLOCKS, None), 0).here


def test_tiers_are_in_order() -> None:
    """And all but the last have an end, so that each interval has one tier."""
    for wrong in ((TIERS[0],), TIERS[::-1], (TIERS[1], TIERS[1])):
        with pytest.raises(ValueError, match="from the finest to the coarsest"):
            by_tier(wrong, values)


def test_a_statement_that_does_not_say_when_it_is_read_fails() -> None:
    """It would be read always."""
    with pytest.raises(ValueError, match="when it is to be read"):
        by_tier(TIERS, lambda branch: f"SELECT {branch['value']} FROM {branch} WHERE {within(branch)}")


@pytest.mark.parametrize(("values", "found"), [("", 0), ("'a'", 1), ("'a','it''s'", 2)])
def test_values_that_are_chosen(tables: Database, values: str, found: int) -> None:
    """Some, one, and none at all, which is how Grafana writes All of a menu without options."""
    tables.execute("CREATE TABLE grafana.places (site text)")
    tables.execute("INSERT INTO grafana.places VALUES ('a'), ('it''s'), ('b')")
    view = View("places", "A row.", (Column("site", "text", "A site."),), "SELECT 1")
    sql = f"SELECT count(*) FROM {view} WHERE {chosen(view, 'site')}".replace("$site", values)
    assert tables.execute(sql.encode()).fetchone() == (found,)


def test_one_value_and_columns_of_other_names() -> None:
    """Of a variable of one value Grafana writes the text alone: the quotes are ours."""
    assert is_one(FINE, "value", "gpu").startswith("(value = '$gpu' OR ")
    assert chosen(FINE, value="site").startswith("(value = ANY (ARRAY[$site]::text[]) OR ")


def test_names_with_a_dollar_sign_are_one_choice(tables: Database) -> None:
    """And what finds them is in the plan only where that is chosen: other names cost nothing."""
    tables.execute("CREATE TABLE grafana.places (site text)")
    tables.execute("INSERT INTO grafana.places VALUES ('a'), ('a$__timeFrom()b'), ('$x(')")
    view = View("places", "A row.", (Column("site", "text", "A site."),), "SELECT 1")
    menu = f"SELECT DISTINCT {offered(view['site'])} FROM {view} ORDER BY 1"
    assert tables.execute(menu.encode()).fetchall() == [("(with a dollar sign)",), ("a",)]
    for site, found, plan in (("a", 1, 0), ("(with a dollar sign)", 2, 1)):
        for condition in (chosen(view, "site"), is_one(view, "site", "site").replace("'$site'", "$site")):
            sql = f"SELECT count(*) FROM {view} WHERE {condition}".replace("$site", f"'{site}'")
            assert tables.execute(sql.encode()).fetchone() == (found,)
            assert str(tables.execute(f"EXPLAIN {sql}".encode()).fetchall()).count("strpos") == plan
