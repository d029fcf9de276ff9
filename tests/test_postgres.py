"""The PostgreSQL that tests bring themselves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.postgres import NoPostgresError, Postgres, binaries, postgres, shared


@pytest.fixture
def programs() -> Path:
    """Where PostgreSQL's programs are."""
    try:
        return binaries()
    except NoPostgresError as error:
        pytest.skip(str(error))


@pytest.fixture
def server(tmp_path: Path, programs: Path) -> Iterator[Postgres]:
    """A server of its own, which keeps what it has committed."""
    assert programs
    with postgres(tmp_path, {"shared_buffers": "16MB"}) as it:
        yield it


def test_crash_and_restart_keep_what_was_committed(server: Postgres) -> None:
    """After SIGKILL of all its processes it recovers what was committed, on the port that it had."""
    url = server.create_database("kept")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT generate_series(1, 1000) AS number")
    pids = server.pids()
    server.kill()
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
    server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT sum(number) FROM numbers").fetchone() == (500_500,)


def test_cpu_is_counted_over_restarts(server: Postgres) -> None:
    """CPU time never falls: that of ended connections and of the time before a crash stays counted."""
    spent = [server.cpu_seconds()]
    ends: tuple[Callable[[], object], ...] = (server.pids, server.kill, server.stop)
    for end in ends:
        with psycopg.connect(server.url()) as connection:
            connection.execute("SELECT sum(sqrt(n)) FROM generate_series(1, 300000) AS n")
        end()
        spent.append(server.cpu_seconds())
        if not server.pids():
            server.start()
    assert spent == sorted(set(spent))


def test_what_it_says_of_itself(server: Postgres) -> None:
    """Its memory is a few dozen MB at most, gpufleet takes its version, and a setting given is its own."""
    assert 5 < server.rss_mb() < 100
    assert int(server.version().split()[2].split(".")[0]) >= 15
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SHOW shared_buffers").fetchone() == ("16MB",)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_what_root_alone_may_enter(server: Postgres, tmp_path: Path) -> None:
    """Where its account can't enter the folder the data lies elsewhere, and goes with the server."""
    if os.getuid() == 0:
        assert not server.data.is_relative_to(tmp_path)
        server.remove()
        assert not server.data.exists()
    else:
        assert server.data.is_relative_to(tmp_path)


def test_database_of_its_own(postgres_database: str) -> None:
    """A test gets an empty database."""
    with psycopg.connect(postgres_database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone() == (0,)


@pytest.mark.usefixtures("programs")
def test_shared_server_ends_with_its_owner(tmp_path: Path) -> None:
    """The server of a test run is one for all who ask, and ends when the run is killed."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        url = shared(tmp_path, owner.pid)
        assert shared(tmp_path, owner.pid) == url
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    with pytest.raises(psycopg.OperationalError):
        while time.monotonic() < deadline:
            psycopg.connect(url).close()


def test_programs_that_root_alone_may_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
    """A virtual environment in a folder that only root may enter does: its programs are copied to where they run."""
    (tmp_path / "venv").symlink_to(programs.parents[2])
    monkeypatch.setenv("GPUFLEET_TEST_PG_BIN", str(tmp_path / "venv" / Path(*programs.parts[-3:])))
    with postgres(tmp_path / "second") as second:
        assert second.version().startswith("postgres (PostgreSQL)")


def test_programs_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without PostgreSQL is named."""
    monkeypatch.setenv("GPUFLEET_TEST_PG_BIN", str(tmp_path))
    with pytest.raises(NoPostgresError, match=f"{tmp_path} has no postgres"):
        Postgres(tmp_path / "pg")
