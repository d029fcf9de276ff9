"""With a real Alertmanager that is down, restarted, slow or refuses one alert: none lost, none doubled, all end."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from gpufleet_server.alerts.delivery.dispatcher import Dispatcher
from gpufleet_server.alerts.delivery.settings import Receivers, parse
from gpufleet_server.alerts.delivery.source import StoreSource
from gpufleet_server.domain import clock
from gpufleet_server.store.alerts import alert_log, alerts
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from sqlalchemy import insert, select, update

from tests.e2e.alertmanager import Alertmanager, alertmanager, delayed, needs_alertmanager
from tests.e2e.stack import wait_for
from tests.ports import free_port
from tests.server.alerts.delivery.hook import Hook, hook

pytestmark = needs_alertmanager


@dataclass
class Fleet:
    """Alerts in a store, as the engine writes them."""

    store: Store

    def fire(self, *hosts: str, **labels: str) -> None:
        """An alert of each host fires."""
        now = clock.now()
        about = {"rule": "gpu_lost", "scope": "node", "severity": "critical", "state": "firing", "version": 1}
        times = {"since": now, "last_true": now, "fired_at": now, "told_at": now}
        with self.store.writing() as connection:
            for host in hosts:
                row = about | times | {"subject": f"node:{host}", "text": f"{host} is ill"}
                made = connection.execute(insert(alerts).values(row | {"labels": {"hostname": host} | labels}))
                assert made.inserted_primary_key is not None
                self._log(connection, made.inserted_primary_key[0], "fired")

    def resolve(self, *hosts: str) -> None:
        """Those of these hosts end."""
        with self.store.writing() as connection:
            for host in hosts:
                mine = (alerts.c.subject == f"node:{host}") & (alerts.c.state == "firing")
                ends = update(alerts).where(mine).values(state="resolved", resolved_at=clock.now())
                self._log(connection, connection.execute(ends.returning(alerts.c.alert_id)).scalar_one(), "resolved")

    def refused(self) -> list[str]:
        """What is noted as refused."""
        with self.store.reading() as connection:
            return list(connection.execute(select(alert_log.c.text).where(alert_log.c.change == "refused")).scalars())

    def _log(self, connection: object, alert_id: int, change: str) -> None:
        row = {"alert_id": alert_id, "at": clock.now(), "change": change, "by": "", "text": ""}
        connection.execute(insert(alert_log).values(row))  # type: ignore[attr-defined]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """No alerts yet."""
    store = Store.open(f"sqlite:///{tmp_path / 'fleet.db'}")
    migrate(store)
    yield Fleet(store)
    store.close()


@pytest.fixture
def pager() -> Iterator[Hook]:
    """Whom Alertmanager tells."""
    with hook() as it:
        yield it


@contextmanager
def telling(fleet: Fleet, *urls: str, timeout: str = "5s", resend: str = "3s") -> Iterator[Dispatcher]:
    """A server's part that tells Alertmanagers, again and again, while the block runs.

    What it tells is good for four times `resend`: longer than a busy machine keeps it waiting.
    """
    it = Dispatcher(
        fleet.store, _receivers(urls, timeout, resend), StoreSource(fleet.store, lambda _rule: "Look at it.")
    )
    it.start()
    try:
        yield it
    finally:
        it.stop()


def _receivers(urls: tuple[str, ...], timeout: str, resend: str) -> Receivers:
    listed = ", ".join(f'"{url}"' for url in urls)
    return parse(f'[alertmanager.main]\nurls = [{listed}]\nresend = "{resend}"\ntimeout = "{timeout}"')


def told(pager: Hook) -> Counter[tuple[str, str]]:
    """(hostname, status) → how often the webhook behind Alertmanager was told so."""
    every = (one for request in pager.requests for one in request.json["alerts"])
    return Counter((one["labels"]["hostname"], one["status"]) for one in every)


def once(*pairs: tuple[str, str]) -> Counter[tuple[str, str]]:
    """Each of these once."""
    return Counter(pairs)


def test_up(tmp_path: Path, fleet: Fleet, pager: Hook) -> None:
    """An alert is there at once, with what to do; it ends as soon; all of it is told once."""
    with alertmanager(tmp_path / "am", pager.url) as it, telling(fleet, it.url, resend="2s"):
        fleet.fire("a")
        wait_for("the alert", lambda: it.hosts() == {"a"}, 8)
        (shown,) = it.alerts()
        assert shown["annotations"] == {"summary": "a is ill", "advice": "Look at it."}
        assert shown["labels"] == {"alertname": "gpu_lost", "severity": "critical", "hostname": "a"}
        # Longer than it is good for without being sent again.
        time.sleep(9)
        assert it.hosts() == {"a"}
        fleet.resolve("a")
        wait_for("its end", lambda: told(pager) == once(("a", "firing"), ("a", "resolved")), 8)
        assert it.hosts() == set()


def test_down(tmp_path: Path, fleet: Fleet, pager: Hook) -> None:
    """What fires while it is down is there when it is up; what ended before is not told at all."""
    it = Alertmanager(tmp_path / "am", pager.url, free_port())
    with telling(fleet, it.url) as server:
        fleet.fire("a", "b", "c")
        wait_for("a failure", lambda: server.standings[0].failures > 1)
        fleet.resolve("b")
        it.start()
        try:
            wait_for("the alerts", lambda: it.hosts() == {"a", "c"}, 30)
            wait_for("them to be told", lambda: told(pager) == once(("a", "firing"), ("c", "firing")), 30)
        finally:
            it.end()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_restarted(tmp_path: Path, fleet: Fleet, pager: Hook, how: signal.Signals) -> None:
    """All that fires is there again at once; what ended meanwhile is told to have ended, if it still knows of it."""
    with alertmanager(tmp_path / "am", pager.url) as it, telling(fleet, it.url):
        fleet.fire("a", "b", "c")
        before = once(("a", "firing"), ("b", "firing"), ("c", "firing"))
        wait_for("them to be told", lambda: told(pager) == before, 30)
        it.end(how)
        fleet.resolve("b")
        fleet.fire("d")
        it.start()
        wait_for("the alerts", lambda: it.hosts() == {"a", "c", "d"}, 30)
        wait_for("the new one", lambda: told(pager)["d", "firing"] == 1, 30)
        if how is signal.SIGTERM:
            after = before + once(("b", "resolved"), ("d", "firing"))
            wait_for("the end of one", lambda: told(pager) == after, 30)
            time.sleep(4)
            assert told(pager) == after
        assert ("b", "resolved") in told(pager) or how is signal.SIGKILL


def test_slow(tmp_path: Path, fleet: Fleet, pager: Hook) -> None:
    """One that answers slowly, or too late, keeps no other waiting, and nothing is told twice."""
    with (
        alertmanager(tmp_path / "quick", pager.url) as quick,
        hook() as slow_pager,
        alertmanager(tmp_path / "slow", slow_pager.url) as slow,
        delayed(slow.port, 2.0) as way,
        telling(fleet, quick.url, way.url, timeout="1s") as server,
    ):
        fleet.fire("a", "b")
        wait_for("the quick one", lambda: quick.hosts() == {"a", "b"}, 8)
        wait_for("it to be too late", lambda: server.standings[1].failures > 0, 30)
        assert "timed out" in server.standings[1].error
        way.seconds = 0.3
        wait_for("the slow one", lambda: server.standings[1].failing_since is None, 30)
        fleet.resolve("a")
        ends = once(("a", "firing"), ("b", "firing"), ("a", "resolved"))
        wait_for("the end at the quick one", lambda: told(pager) == ends, 30)
        wait_for("the end at the slow one", lambda: told(slow_pager) == ends, 30)
        time.sleep(4)
        assert told(pager) == told(slow_pager) == ends
        assert quick.hosts() == slow.hosts() == {"b"}


def test_one_refused(tmp_path: Path, fleet: Fleet, pager: Hook) -> None:
    """A label that it does not take: all others of the batch are there once, and the refusal is noted once."""
    with alertmanager(tmp_path / "am", pager.url) as it, telling(fleet, it.url) as server:
        hosts = [f"n{number}" for number in range(20)]
        fleet.fire(*hosts[:7])
        fleet.fire("bad", **{"not-a-label": "x"})
        fleet.fire(*hosts[7:])
        wait_for("the others", lambda: it.hosts() == set(hosts), 30)
        wait_for("them to be told", lambda: told(pager) == once(*((host, "firing") for host in hosts)), 30)
        fleet.resolve("n3", "bad")
        wait_for("the end", lambda: told(pager)["n3", "resolved"] == 1, 30)
        assert sum(told(pager).values()) == 21
        refused = fleet.refused()
        assert "not-a-label" in refused[0]
        # Once when it fired, and once as it ended.
        assert len(refused) <= 2
        assert server.standings[0].failing_since is None
