"""Views are made anew where their definition changed, and whoever might read them still may."""

import dataclasses
import secrets
from collections.abc import Iterator
from types import MappingProxyType

import pytest
from gpufleet_server.store import views
from gpufleet_server.store.engine import Store
from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views import places
from sqlalchemy import text

_OID = text("SELECT to_regclass('grafana.places')::oid")


@pytest.fixture
def role(postgresql: Store) -> Iterator[str]:
    """A role that may read one view."""
    name = f"Reader {secrets.token_hex(4)}"
    with postgresql.writing() as connection:
        connection.execute(text(f'CREATE ROLE "{name}"'))
        connection.execute(text(f'GRANT SELECT ON {places.VIEW} TO "{name}"'))
    yield name
    with postgresql.writing() as connection:
        connection.execute(text(f'DROP OWNED BY "{name}"'))
        connection.execute(text(f'DROP ROLE "{name}"'))


def _changed(monkeypatch: pytest.MonkeyPatch, view: View) -> None:
    known = {**every_view(), view.name: view}
    monkeypatch.setattr(views, "every_view", lambda: MappingProxyType(known))


def test_one_that_changed(postgresql: Store, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another one, of the same readers; others stay as they are."""
    other = text("SELECT to_regclass('grafana.gpus')::oid")
    changed = dataclasses.replace(places.VIEW, select=f"{places.VIEW.select} LIMIT 5")
    _changed(monkeypatch, changed)
    with postgresql.writing() as connection:
        before = connection.execute(_OID).scalar_one(), connection.execute(other).scalar_one()
        views.refresh(connection)
        assert connection.execute(_OID).scalar_one() != before[0]
        assert connection.execute(other).scalar_one() == before[1]
        query = text(f"SELECT has_table_privilege(:role, '{places.VIEW}', 'SELECT')")
        assert connection.execute(query, {"role": role}).scalar_one()


def test_one_that_did_not_change_stays(postgresql: Store) -> None:
    """Boards that are asking are not disturbed."""
    with postgresql.writing() as connection:
        before = connection.execute(_OID).scalar_one()
        views.refresh(connection)
        assert connection.execute(_OID).scalar_one() == before


def test_one_that_there_is_no_more_is_removed(postgresql: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema is this project's alone."""
    _changed(monkeypatch, View("gone", "One.", (), "SELECT 1 AS one"))
    with postgresql.writing() as connection:
        views.refresh(connection)
        assert connection.execute(text("SELECT to_regclass('grafana.gone')")).scalar_one() is not None
    monkeypatch.undo()
    with postgresql.writing() as connection:
        views.refresh(connection)
        assert connection.execute(text("SELECT to_regclass('grafana.gone')")).scalar_one() is None


def test_a_revision_may_alter_what_views_show(postgresql: Store, role: str) -> None:
    """Views are taken down for it, and those who might read them may read those that come after it."""
    with postgresql.writing() as connection:
        connection.execute(text(f'GRANT SELECT ON samples TO "{role}"'))
        readers = views.take_down(connection)
        connection.execute(text("ALTER TABLE fleet_groups ALTER site TYPE varchar(512)"))
        connection.execute(text("ALTER TABLE nodes ALTER hostname TYPE varchar(512)"))
        views.refresh(connection, readers)
        may = text("SELECT has_table_privilege(:role, :view, 'SELECT')")
        asked = ("grafana.places", "samples", "grafana.gpus")
        assert [connection.execute(may, {"role": role, "view": view}).scalar_one() for view in asked] == [
            True,
            True,
            False,
        ]
