"""Views of single boards' panels, as tables that a test fills: for what a whole fleet shows too seldom."""

import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.grafana.view import SCHEMA
from psycopg import sql

from tests.dashboards.fleet.boards import Viewer
from tests.dashboards.grafana_sql.front import Range

MINUTE = 60_000_000


@dataclass(frozen=True)
class Views:
    """A connection to a database with a table of each view's name and columns; `now` (µs) is a whole minute."""

    connection: psycopg.Connection[Any]
    now: int

    def put(self, view: str, *rows: Mapping[str, Any]) -> None:
        """Rows of a view; what they do not say is NULL, but for the number of a group of the fleet."""
        for given in rows:
            row = self._grouped(given) if view in ("fleet_minutes", "fleet_states") else given
            names = sql.SQL(", ").join(map(sql.Identifier, row))
            values = sql.SQL(", ").join(map(sql.Placeholder, row))
            into = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(SCHEMA, view), names, values)
            self.connection.execute(into, row)

    def _grouped(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """With the number of its group, which is put beside it."""
        group = {name: row.get(name) for name in ("site", "model", "simulated")}
        group["state"] = row.get("use", row.get("state", "reporting"))
        number = zlib.crc32(repr(group).encode())
        if not self.connection.execute("SELECT 1 FROM grafana.fleet_groups WHERE group_id = %s", [number]).fetchone():
            self.put("fleet_groups", group | {"group_id": number})
        return {"group_id": number, **row}

    def rows(self, board: str, panel: str, begin: int, end: int) -> list[dict[str, Any]]:
        """What a panel shows of a range (µs) with all that can be chosen."""
        viewer = Viewer(self.connection, board, Range(begin // 1000, end // 1000))
        viewer.choose(None)
        asked = viewer.panel(panel)
        return [dict(zip([name for name, _ in asked.columns], row, strict=True)) for row in asked.rows]


@pytest.fixture
def views(postgres_database: str) -> Iterator[Views]:
    """All of them, empty, but for one site and model."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
        for view in every_view().values():
            columns = sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(each.name), sql.SQL(each.type)) for each in view.columns
            )
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(SCHEMA, view.name), columns))
        found = Views(connection, time.time_ns() // 1000 // MINUTE * MINUTE)
        found.put("places", {"site": "east", "model": "H100", "simulated": False})
        yield found
