"""Elections on PostgreSQL: one winner at a time, who stays for as long as it lives and reaches the database."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from gpufleet_server.store.election import Election
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import ALERTS, UPKEEP
from sqlalchemy import Engine, create_engine, make_url, text

from tests.server.fixtures import NewDatabase

# Short, so that nobody waits; long enough for a machine that is busy.
_LENGTH, _RENEW = 2.0, 0.2
Stand = Callable[..., Election]
_HOLDER = f"""
import sys, time
from gpufleet_server.store.election import Election
from sqlalchemy import create_engine
elected = Election(create_engine(sys.argv[1]), "alerts", length={_LENGTH}, renew={_RENEW})
print(elected.won(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def url(new_postgresql: NewDatabase) -> str:
    """A migrated database."""
    return new_postgresql()


@pytest.fixture
def stand(url: str) -> Iterator[Stand]:
    """Makes candidates, each a server of its own; `as_` names its connections."""
    with contextlib.ExitStack() as ends:

        def made(name: str = ALERTS, length: float = _LENGTH, as_: str = "") -> Election:
            engine = _engine(url, as_)
            ends.callback(engine.dispose)
            return ends.enter_context(contextlib.closing(Election(engine, name, length=length, renew=_RENEW)))

        yield made


def _engine(url: str, name: str = "") -> Engine:
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    return create_engine(parsed, pool_pre_ping=True, connect_args={"application_name": name})


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> float:
    """Wait for it; after how many seconds it came."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)
    return time.monotonic() - began


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _lease(url: str) -> tuple[float, float]:
    """When the lease over alerts is over, and how long that is from now: s, by the database's clock."""
    with psycopg.connect(url) as connection:
        asked = "SELECT until, extract(epoch FROM clock_timestamp())::float8 FROM leases WHERE name = 'alerts'"
        (row,) = connection.execute(asked).fetchall()
    return row[0] / 1e6, row[0] / 1e6 - row[1]


def test_who_asks_first_wins_and_stays(postgresql: Store) -> None:
    """Others follow at once when it leaves, and of something else there is another election."""
    one, other, of_upkeep = (postgresql.election(name) for name in (ALERTS, ALERTS, UPKEEP))
    assert [one.won(), other.won(), one.won(), of_upkeep.won()] == [True, False, True, True]
    one.close()
    assert [other.won(), one.won()] == [True, False]
    for each in (other, of_upkeep):
        each.close()


def test_of_many_who_ask_at_once_one_wins(stand: Stand) -> None:
    """Again and again, whoever had it before."""
    candidates, asked = [stand() for _ in range(6)], threading.Barrier(6)
    for _ in range(10):
        won: list[Election] = []

        def ask(candidate: Election, won: list[Election] = won) -> None:
            asked.wait()
            if candidate.won():
                won.append(candidate)

        threads = [threading.Thread(target=ask, args=(candidate,)) for candidate in candidates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].close()


def test_it_stays_through_long_work(stand: Stand) -> None:
    """Its lease is renewed although it does not ask for longer than that lasts."""
    length = 3 * _LENGTH
    elected, other = stand(length=length), stand(length=length)
    assert elected.won()
    end = time.monotonic() + length + 1
    while time.monotonic() < end:
        assert not other.won()
        time.sleep(0.05)
    assert elected.won()


def test_who_was_killed_is_followed(url: str, stand: Stand) -> None:
    """Once its lease is over, and not before: nobody can tell it from one that is only slow."""
    other = stand()
    place = make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    with subprocess.Popen([sys.executable, "-c", _HOLDER, place], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not other.won()
        holder.send_signal(signal.SIGKILL)
    over, left = _lease(url)
    assert left <= _LENGTH
    assert _until(other.won) < _LENGTH + 1
    assert _lease(url)[0] - _LENGTH >= over


def test_who_is_cut_off_stops_to_believe_before_another_wins(
    url: str, postgres_server: str, stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks its clock, not the database; reaching that again it asks like all others."""
    elected, other = stand(length=3 * _LENGTH, as_="cut off"), stand(length=3 * _LENGTH)
    assert elected.won()
    assert not other.won()
    name = urlsplit(url).path[1:]
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    _run(
        postgres_server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', f"{kill} AND application_name = 'cut off'"
    )
    caplog.set_level("INFO")
    assert elected.won()
    _until(other.won)
    assert not elected.won()
    assert "is not renewed yet" in caplog.text
    _run(postgres_server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert not elected.won()
    other.close()
    assert elected.won()


def test_who_finds_another_s_name_has_lost(url: str, stand: Stand) -> None:
    """As after a failover to a standby that did not know of it: within the time in which it renews."""
    elected = stand(length=10 * _LENGTH)
    assert elected.won()
    _run(url, "UPDATE leases SET holder = 'another' WHERE name = 'alerts'")
    assert _until(lambda: not elected.won()) < _LENGTH / 2


def test_a_clock_that_is_set_back_keeps_nobody_out(url: str, stand: Stand) -> None:
    """What lies further ahead than any lease is none."""
    later = "(extract(epoch FROM now() + interval '1 hour') * 1000000)::bigint"
    _run(url, f"UPDATE leases SET holder = 'of before', until = {later}")
    assert stand().won()


def test_nobody_is_elected_while_all_connections_are_taken(url: str) -> None:
    """That is no reason to give up: the next time there may be one."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(parsed, pool_size=1, max_overflow=0, pool_timeout=0.05)
    election = Election(engine, ALERTS)
    with engine.connect():
        assert not election.won()
    assert election.won()
    election.close()
    engine.dispose()


def test_it_needs_no_connection_of_its_own(url: str) -> None:
    """Whoever is elected has all of them for its work."""
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    engine = create_engine(parsed, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with contextlib.closing(Election(engine, ALERTS)) as election:
        assert election.won()
        with engine.connect() as connection:
            assert election.won()
            # What an election sets for itself is not left behind.
            connection.execute(text("SELECT 1"))
            assert connection.in_transaction()
            assert connection.get_isolation_level() == "READ COMMITTED"
    engine.dispose()


def test_a_row_that_is_missing_is_told(url: str, stand: Stand, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody wins, and the log says why."""
    _run(url, "DELETE FROM leases")
    assert not stand().won()
    assert "the table leases has no row 'alerts'" in caplog.text


def test_no_thread_is_left(stand: Stand) -> None:
    """Who leaves renews nothing any more."""
    elected = stand()
    assert elected.won()
    assert _renewing()
    elected.close()
    assert not _renewing()


def _renewing() -> bool:
    return any(thread.name == "gpufleet-lease-alerts" for thread in threading.enumerate())
