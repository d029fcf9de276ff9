"""`gpufleet db` on a real database."""

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gpufleet_server.cli import app
from gpufleet_server.domain import clock
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import DAY, HOUR, SEALED, begin_of
from sqlalchemy import text
from typer.testing import CliRunner, Result

from tests.server.fixtures import NewDatabase, database, new_postgresql, new_sqlite
from tests.server.fleet import Fleet
from tests.server.store.sampled import add, gpu, held, waiting

__all__ = ["database", "new_postgresql", "new_sqlite"]


def db(*arguments: str, status: int = 0) -> Result:
    """Run the command, which ends with this status."""
    result = CliRunner().invoke(app, ["db", *arguments])
    assert result.exit_code == status, result.output
    return result


def told(*arguments: str) -> dict[str, Any]:
    """Its answer to a program."""
    found: dict[str, Any] = json.loads(db(*arguments, "--json").stdout)
    return found


@pytest.fixture
def filled(database: str) -> str:
    """A database with a GPU's samples of two hours ago and of forty days ago, and of now."""
    store = Store.open(database)
    fleet, now = Fleet(store), clock.now()
    node_id = fleet.node("alpha")
    fleet.gpu(node_id, "GPU-1")
    add(store, *gpu(node_id, 0, [(now - 40 * DAY, 1), (begin_of(now, HOUR) - 2 * HOUR + 1, 2), (now, 3)]))
    store.close()
    return database


def test_seal(filled: str) -> None:
    """What is due is sealed, once; until a given time also what would wait."""
    assert told("seal", "--database", filled)["samples"] == 2
    assert told("seal", "--database", filled)["samples"] == 0
    assert "sealed 1 samples in 1 hours" in db("seal", "--database", filled, "--until", "0s").stderr
    store = Store.open(filled)
    assert len(held(store, SEALED)) == 3
    assert not waiting(store)
    store.close()


def test_stats(filled: str) -> None:
    """For people a table with units, for programs bytes, seconds and ISO times."""
    db("seal", "--database", filled)
    found = told("stats", "--database", filled, "--keep-samples", "2d")
    tables = {table["name"]: table for table in found["tables"]}
    assert (found["gpus"], found["nodes"]) == (1, 1)
    assert found["engine"] == filled.split(":", maxsplit=1)[0]
    assert (tables["sealed"]["rows"], tables["sealed"]["keep_seconds"]) == (2, 2 * 86_400)
    assert tables["sealed"]["bytes_steady"] == pytest.approx(2 * tables["sealed"]["bytes_per_day"], abs=2)
    assert tables["sealed"]["oldest"].endswith(":00:00.000000Z")
    assert (tables["daily"]["oldest"], tables["daily"]["keep_seconds"], tables["recent"]["keep_seconds"]) == (
        None,
        0,
        None,
    )
    shown = db("stats", "--database", filled).stdout
    header = shown.splitlines()[0]
    assert re.split(" {2,}", header) == ["TIER", "ROWS", "SIZE", "A GPU-DAY", "OLDEST", "NEWEST", "KEPT", "COMES TO"]
    assert "samples, sealed" in shown
    assert "1 GPU in 1 node;" in shown


def test_retention(filled: str) -> None:
    """What is older than it is to be kept goes, at once."""
    db("seal", "--database", filled)
    assert told("retention", "--database", filled, "--keep-samples", "30d")["removed"] == {"sealed": 1}
    assert "nothing is too old" in db("retention", "--database", filled, "--keep-samples", "30d").stderr
    store = Store.open(filled)
    assert len(held(store, SEALED)) == 1
    store.close()


def test_retention_of_what_is_given_only(filled: str) -> None:
    """A server may keep for longer what this command knows nothing of."""
    db("seal", "--database", filled)
    assert told("retention", "--database", filled, "--keep-fleet-hours", "1d")["removed"] == {}


def test_rebuild(filled: str) -> None:
    """Rollups of a range are made anew."""
    db("seal", "--database", filled)
    assert told("rebuild", "--database", filled, "--since", "1d")["hours"] == 1
    assert "made 2 hours of nodes anew" in db("rebuild", "--database", filled, "--since", "50d").stderr


def test_migrate(tmp_path: Path) -> None:
    """The database is made; a second time changes nothing."""
    file = tmp_path / "fleet.db"
    for _ in range(2):
        assert "has this version's schema" in db("migrate", "--database", str(file)).stderr
    store = Store.open(f"sqlite:///{file}")
    with store.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM sealed")).scalar_one() == 0
    store.close()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["retention", "--keep-samples", "30m"], "--keep-samples '30m' is less than 1h"),
        (["stats", "--keep-daily", "5d"], "--keep-daily '5d' is less than 32d"),
        (["retention"], "what is too old? Give --keep-samples"),
        (["seal", "--until", "soon"], "--until"),
        (["rebuild", "--since", "1h", "--until", "2h"], "--since '1h' is not before --until '2h'"),
    ],
)
def test_wrong_usage(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    """Status 2 and one line that names the option; no database is made."""
    result = db(*arguments, "--database", str(tmp_path / "none.db"), status=2)
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "none.db").exists()


def test_no_database(tmp_path: Path) -> None:
    """A look at one that is not there makes none."""
    assert "there is no database" in db("stats", "--database", str(tmp_path / "none.db"), status=1).stderr


@pytest.mark.parametrize("command", ["stats", "seal", "retention --keep-samples 30d", "rebuild --since 7d"])
def test_an_older_store_is_left_as_it_is(database: str, command: str) -> None:
    """There is no way back from a migration, and the server at work on it may be an older one."""
    store = Store.open(database)
    with store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    failed = db(*command.split(), "--database", database, status=1)
    assert "is of an older gpufleet, and there is no way back; `gpufleet db migrate`" in failed.stderr
    with store.reading() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "0001"
    store.close()


@pytest.fixture
def guest(new_postgresql: NewDatabase) -> Iterator[str]:
    """The URL of a migrated database for a role that may read it and do nothing else."""
    url, name = urlsplit(new_postgresql()), f"guest_{secrets.token_hex(4)}"
    store = Store.open(url.geturl())
    with store.writing() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD 'hush-hush'"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"))
    yield url._replace(netloc=f"{name}:hush-hush@{url.hostname}:{url.port}").geturl()
    with store.writing() as connection:
        connection.execute(text(f"DROP OWNED BY {name}"))
        connection.execute(text(f"DROP ROLE {name}"))
    store.close()


def test_who_may_only_read(guest: str) -> None:
    """Sees how large it is; what would change it is refused in a line without the password."""
    assert told("stats", "--database", guest)["engine"] == "postgresql"
    failed = db("migrate", "--database", guest, status=1)
    assert "gpufleet: can't use postgresql://" in failed.stderr
    assert "must be owner" in failed.stderr or "permission denied" in failed.stderr
    assert "hush" not in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"netloc": "nobody:hush-hush@{host}:{port}"}, "can't use postgresql://nobody:***@"),
        ({"path": "/nowhere"}, '"nowhere" does not exist'),
        ({"netloc": "postgres:hush-hush@{host}:1"}, "can't use postgresql://"),
        ({"netloc": "postgres:hush-hush@{host}:many"}, "is no database URL"),
        ({"scheme": "postgres"}, "postgres is not supported"),
        ({"query": "password=hush-hush&sslmode=sometimes"}, "can't use postgresql://"),
    ],
)
def test_a_database_that_cannot_be_had(new_postgresql: NewDatabase, change: dict[str, str], complaint: str) -> None:
    """Status 1 and one line that says which and why, without a password."""
    url = urlsplit(new_postgresql())
    parts = {name: value.format(host=url.hostname, port=url.port) for name, value in change.items()}
    failed = db("stats", "--database", url._replace(**parts).geturl(), status=1)
    assert complaint in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert "hush" not in failed.stderr
    assert str(url.password) not in failed.stderr


def test_a_url_with_a_slip_makes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins like a URL is meant as one."""
    monkeypatch.chdir(tmp_path)
    assert "is no database URL" in db("migrate", "--database", "postgresql:/host/fleet", status=1).stderr
    assert not list(tmp_path.iterdir())
