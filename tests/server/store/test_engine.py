"""Opening a store, reading and writing."""

import contextlib
import stat
import threading
from pathlib import Path

import pytest
from gpufleet_server.store.engine import Store, StoreError
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from tests.server.fixtures import NewDatabase


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Everything of the store, the journal included, has mode 0600, and a folder that is made 0700."""
    fresh = Store.open(f"sqlite:///{tmp_path}/made/new.db")
    with fresh.writing() as connection:
        connection.execute(text("CREATE TABLE anything (x)"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    fresh.close()
    assert modes == {"made": 0o700, "new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}


def test_every_commit_is_on_disk_before_it_is_answered(new_sqlite: NewDatabase) -> None:
    """On SQLite: WAL with a synchronous mode of FULL."""
    store = Store.open(new_sqlite())
    with store.writing() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
    store.close()


def test_an_error_rolls_back(store: Store) -> None:
    """Nothing of a failed transaction stays."""
    with pytest.raises(ZeroDivisionError), store.writing() as connection:
        connection.execute(text("INSERT INTO streams VALUES (1, 'a', 1, 1)"))
        raise ZeroDivisionError
    with store.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM streams")).scalar_one() == 0


def test_a_reader_can_not_write(store: Store) -> None:
    """A connection for selects refuses everything else."""
    with store.reading() as connection, pytest.raises(DBAPIError, match=r"readonly|read-only"):
        connection.execute(text("DELETE FROM nodes"))


def test_a_reader_sees_one_moment(store: Store) -> None:
    """What is committed while someone reads does not show until they begin anew."""
    count = text("SELECT count(*) FROM streams")
    with store.reading() as reader:
        assert reader.execute(count).scalar_one() == 0
        with store.writing() as writer:
            writer.execute(text("INSERT INTO streams VALUES (1, 'a', 1, 1)"))
        assert reader.execute(count).scalar_one() == 0
    with store.reading() as reader:
        assert reader.execute(count).scalar_one() == 1


def test_writers_take_turns(store: Store) -> None:
    """Threads that write at once all succeed."""

    def add(number: int) -> None:
        with store.writing() as connection:
            connection.execute(text(f"INSERT INTO streams VALUES ({number}, 'a', 1, 1)"))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM streams")).scalar_one() == 8


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "no database URL"),
        ("mysql://host/fleet", "mysql is not supported"),
        ("sqlite://", "needs a file"),
        ("sqlite:////dev/null/fleet.db", "can't use"),
    ],
)
def test_what_can_not_be_opened_is_told_plainly(url: str, problem: str) -> None:
    """A StoreError says what is wrong with the URL."""
    with pytest.raises(StoreError, match=problem):
        Store.open(url)


def test_a_password_is_not_shown() -> None:
    """A store's name, which goes to logs, hides it; so does a mistaken URL's complaint."""
    opened = Store.open("postgresql://fleet:secret@host/db?sslmode=require")
    assert opened.name == "postgresql://fleet:***@host/db?sslmode=require"
    opened.close()
    opened = Store.open("postgresql://fleet@host/db?password=secret&sslmode=require")
    assert opened.name == "postgresql://fleet@host/db?sslmode=require"
    opened.close()
    for url in ("mysql://fleet:secret@host/db", "postgresql://fleet:much@secret@host:many/db"):
        with pytest.raises(StoreError) as caught:
            Store.open(url)
        assert "secret" not in str(caught.value)


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    """A file that is no database is refused and not touched."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear owner of this file,")
    with pytest.raises(StoreError, match="not an SQLite database"):
        Store.open(f"sqlite:///{path}")
    assert path.read_text() == "Dear owner of this file,"


def test_what_a_database_isolates_by_default_is_not_relied_on(new_postgresql: NewDatabase) -> None:
    """Whoever set it up may have chosen another; writers go on after others, readers see one moment."""
    url = new_postgresql()
    with contextlib.closing(Store.open(url)) as store, store.writing() as connection:
        name = make_url(url).database
        connection.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'")
    with contextlib.closing(Store.open(url)) as store:
        for mode, expected in ((store.writing, "read committed"), (store.reading, "repeatable read")):
            with mode() as connection:
                assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == expected
