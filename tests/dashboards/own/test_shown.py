"""Each panel of the two boards shows what is worked out here from the rows that were written."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.kinds import Words
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from gpufleet_server.store.reader import Reader, grant

from tests import postgres
from tests.dashboards.fleet.boards import RANGES, Viewer
from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.own import alerts, gpufleet
from tests.dashboards.own.looking import Look, complaint
from tests.dashboards.own.rows import MINUTE, Made, made

TRUTHS = {"alerts": alerts.TRUTHS, "gpufleet": gpufleet.TRUTHS}
# PostgreSQL's own estimates, and what needs samples of a fleet.
ELSEWHERE = {"Coverage", "Database", "Largest tables", "Tables"}


@dataclass(frozen=True)
class Small:
    """The store, as the reader has it, and what is in it."""

    connection: psycopg.Connection[Any]
    made: Made


@pytest.fixture(scope="module")
def small(postgres_server: str) -> Iterator[Small]:
    """Made once; nobody changes it."""
    database = f"own_boards_{secrets.token_hex(4)}"
    url, name = postgres.create_database(postgres_server, database), f"{database}_reader"
    found = made(time.time_ns() // 1000 // MINUTE * MINUTE)
    store = Store.open(url)
    try:
        migrate(store)
        found.into(store)
        grant(store, Reader(name), "secret")
    finally:
        store.close()
    with psycopg.connect(url, user=name, password="secret", autocommit=True) as connection:
        yield Small(connection, found)
    postgres.drop_database(postgres_server, database)


@pytest.mark.parametrize("board", TRUTHS)
def test_no_panel_is_without_a_truth(board: str) -> None:
    """Whoever adds a panel says what it has to show."""
    titles = {panel.title for panel in every_board()[board].panels if not isinstance(panel.kind, Words)}
    assert titles - ELSEWHERE == set(TRUTHS[board])


@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("board", TRUTHS)
def test_panels_show_what_was_written(small: Small, board: str, range_: str) -> None:
    """At each range, with all sites and with one after the other."""
    found = []
    for count, turn in [(None, 0), (1, 0), (1, 1), (2, 1)]:
        end = small.made.end // 1000
        viewer = Viewer(small.connection, board, Range(end - RANGES[range_], end))
        viewer.choose(count, turn)
        for title, truth in TRUTHS[board].items():
            now = time.time_ns() // 1000
            look = Look(small.made, viewer.panel(title), viewer.range, viewer.chosen, now)
            found.append(complaint(look, truth(look)))
    assert "\n".join(each for each in found if each) == ""


def test_what_the_database_takes(small: Small) -> None:
    """All tables are in it, and what they take adds up."""
    end = small.made.end // 1000
    viewer = Viewer(small.connection, "gpufleet", Range(end - 3_600_000, end))
    viewer.choose(None)
    (whole,) = viewer.panel("Database").rows
    tables = viewer.panel("Tables").rows
    assert {"nodes", "alerts", "server_minutes"} <= {name for _, name, *_ in tables}
    assert whole[0] == sum(row[3] for row in tables) > 0
    assert [row[1] for row in viewer.panel("Largest tables").rows] == sorted((row[3] for row in tables), reverse=True)[
        :12
    ]
