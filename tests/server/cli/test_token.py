"""`gpufleet token` on a real database."""

import json
import re
import sqlite3
import stat
from pathlib import Path

import pytest
from gpufleet_server.cli import app
from typer.testing import CliRunner, Result

TOKEN = re.compile(r"gpf_(join|reader|admin)_[A-Za-z0-9_-]{43}")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default database's file, not there yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("GPUFLEET_DATABASE", raising=False)
    return tmp_path / "gpufleet/gpufleet.db"


def token(*arguments: str, status: int = 0) -> Result:
    """Run the command, which ends with this status."""
    result = CliRunner().invoke(app, ["token", *arguments])
    assert result.exit_code == status, result.output
    return result


def listed(*arguments: str) -> list[dict[str, object]]:
    """The tokens that are listed."""
    items: list[dict[str, object]] = json.loads(token("list", "--json", *arguments).stdout)["items"]
    return items


@pytest.mark.parametrize("kind", ["join", "reader", "admin"])
def test_a_token_is_made_and_shown_once(database: Path, kind: str) -> None:
    """stdout has the token alone; the listing never has it, nor has the database."""
    text = token("create", "--kind", kind, "--name", "mine").stdout.strip()
    assert TOKEN.fullmatch(text)
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
    (one,) = listed()
    assert (one["kind"], one["name"], one["expires_at"], one["revoked_at"]) == (kind, "mine", None, None)
    assert text not in token("list").output
    assert all(text.encode() not in file.read_bytes() for file in database.parent.glob("gpufleet.db*"))


def test_json_has_all_of_it(database: Path) -> None:
    """For scripts: number, text, and when it expires."""
    made = json.loads(token("create", "--kind", "join", "--name", "n", "--expires", "30d", "--json").stdout)
    assert made.keys() == {"id", "kind", "name", "token", "expires_at"}
    assert TOKEN.fullmatch(made["token"])
    assert listed()[0]["expires_at"] == made["expires_at"]
    assert "good for 30 d" in token("list").stdout


def test_a_token_is_revoked_once(database: Path) -> None:
    """Afterwards it is listed as revoked, and a second time is an error."""
    number = str(json.loads(token("create", "--kind", "reader", "--name", "n", "--json").stdout)["id"])
    token("revoke", number)
    assert "revoked" in token("list").stdout
    again = token("revoke", number, status=1)
    assert again.stderr.startswith("gpufleet: there is no token")
    assert len(again.stderr.splitlines()) == 1


def test_a_database_that_is_not_there_is_not_made_by_a_look(database: Path) -> None:
    """A mistyped name is an error of one line."""
    assert (
        token("list", status=1).stderr
        == f"gpufleet: there is no database {database}; give the server's with --database\n"
    )
    assert not database.exists()


@pytest.mark.parametrize("url", ["postgresql://x/y", "nonsense://", "sqlite://"])
def test_what_is_no_database_of_ours(url: str, database: Path) -> None:
    """One line that says what would be."""
    result = token("create", "--kind", "join", "--name", "n", "--database", url, status=1)
    assert len(result.stderr.splitlines()) == 1


def test_a_file_will_do_as_database(tmp_path: Path, database: Path) -> None:
    """A path is taken for SQLite."""
    file = str(tmp_path / "x.db")
    token("create", "--kind", "join", "--name", "n", "--database", file)
    assert len(listed("--database", file)) == 1
    assert len(listed("--database", f"sqlite:///{file}")) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--name", "n"],
        ["create", "--kind", "node", "--name", "n"],
        ["create", "--kind", "join", "--name", "n", "--expires", "soon"],
        ["revoke", "x"],
    ],
)
def test_wrong_usage(arguments: list[str], database: Path) -> None:
    """Status 2, and nothing is made."""
    token(*arguments, status=2)
    assert not database.exists()


def test_an_older_store_is_left_as_it_is(database: Path) -> None:
    """To make a token is no reason to upgrade what an older server is at work on."""
    token("create", "--kind", "join", "--name", "n")
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    assert "is of an older gpufleet" in token("create", "--kind", "join", "--name", "n", status=1).stderr
