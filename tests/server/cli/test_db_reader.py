"""`gpufleet db grant-reader` on a real database."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from gpufleet_server.cli import app
from gpufleet_server.store.engine import Store
from gpufleet_server.store.reader import there
from sqlalchemy import text
from typer.testing import CliRunner, Result

from tests.server.fixtures import NewDatabase, new_postgresql, new_sqlite

__all__ = ["new_postgresql", "new_sqlite"]

_PASSWORD = "of the reader"


@pytest.fixture
def url(new_postgresql: NewDatabase) -> str:
    """A migrated database."""
    return new_postgresql()


@pytest.fixture
def role(url: str) -> Iterator[str]:
    """The name of a role that there is not, and is not left either."""
    name, store = f"reader_{secrets.token_hex(4)}", Store.open(url)
    yield name
    if there(store, name):
        with store.writing() as connection:
            connection.execute(text(f"DROP OWNED BY {name}"))
            connection.execute(text(f"DROP ROLE {name}"))
    store.close()


def _run(url: str, *arguments: str, status: int = 0, **variables: str) -> Result:
    command = ["db", "grant-reader", "--database", url, *arguments]
    result = CliRunner().invoke(app, command, env={"GPUFLEET_READER_PASSWORD": None, **variables})
    assert result.exit_code == status, result.output
    return result


def _query(url: str, role: str, statement: str) -> int:
    parts = urlsplit(url)
    place = parts._replace(netloc=f"{role}:{_PASSWORD.replace(' ', '%20')}@{parts.hostname}:{parts.port}")
    with psycopg.connect(place.geturl()) as connection:
        found = connection.execute(statement.encode()).fetchone()
    return int(found[0]) if found else -1


def test_a_role_that_logs_in(url: str, role: str, tmp_path: Path) -> None:
    """By the password of a file or of the environment; it says what that opens, and can be taken back."""
    file = tmp_path / "password"
    file.write_text(f"{_PASSWORD}\n")
    said = _run(url, role, "--password-file", str(file)).stderr
    assert f"{role} is made and may read" in said
    assert "temporary tables" in said and "large objects" in said
    assert _query(url, role, "SELECT count(*) FROM grafana.gpus") == 0
    _run(url, role, "--timeout", "90s", GPUFLEET_READER_PASSWORD=_PASSWORD)
    assert _query(url, role, "SELECT extract(epoch FROM current_setting('statement_timeout')::interval)") == 90
    assert f"{role} is removed" in _run(url, role, "--revoke").stderr
    assert "there is no role" in _run(url, role, "--revoke", status=1).stderr


def test_alert_rules(url: str, role: str) -> None:
    """What they read is told, and is what they need."""
    said = _run(url, role, "--alert-rules", GPUFLEET_READER_PASSWORD=_PASSWORD).stderr
    assert "and the tables events, gpus, holders" in said
    assert _query(url, role, "SELECT count(*) FROM latest_states") == 0
    assert f"{role} would be more than a reader: it may read events" in _run(url, role, status=1).stderr


def test_a_new_role_needs_a_password(url: str, role: str, tmp_path: Path) -> None:
    """Nobody is asked where nobody sits; an empty one is none; there are other means."""
    assert "needs a password" in _run(url, role, status=2).stderr
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert "it is empty" in _run(url, role, "--password-file", str(empty), status=1).stderr
    assert "can't read the password" in _run(url, role, "--password-file", str(tmp_path), status=1).stderr
    assert f"{role} is made" in _run(url, role, "--no-password").stderr


def test_print_does_nothing(url: str, role: str) -> None:
    """It gives the SQL, which has no password."""
    sql = _run(url, role, "--print").stdout
    assert sql.startswith(f'CREATE ROLE "{role}" LOGIN;\n')
    assert f'GRANT USAGE ON SCHEMA grafana TO "{role}";' in sql
    assert sql.endswith(f'\\password "{role}"\n')
    assert f'DROP ROLE "{role}";' in _run(url, role, "--print", "--revoke").stdout
    assert _run(url, role, "--revoke", status=1)


def test_what_can_t_be(new_sqlite: NewDatabase, url: str) -> None:
    """SQLite has no roles; a statement may not take less than a second."""
    assert "SQLite, which has no roles" in _run(new_sqlite(), "grafana", "--no-password", status=1).stderr
    assert "a second or more" in _run(url, "grafana", "--timeout", "10ms", status=2).stderr
