"""All receivers of a file are told, by one server of several; what there is to tell comes from the store."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gpufleet_server.alerts.delivery.channels import AlertmanagerChannel
from gpufleet_server.alerts.delivery.dispatcher import Dispatcher
from gpufleet_server.alerts.delivery.errors import ReceiversError
from gpufleet_server.alerts.delivery.settings import AlertmanagerSettings, Receivers, parse
from gpufleet_server.alerts.delivery.source import StoreSource
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.store import deliveries
from gpufleet_server.store.alerts import alert_log, alerts
from gpufleet_server.store.engine import Store
from sqlalchemy import insert, select, update

from tests.e2e.stack import wait_for
from tests.server.alerts.delivery.examples import NOW, Given, alert, resolved
from tests.server.alerts.delivery.hook import Hook

HOUR = 3600 * SECOND


@pytest.fixture
def receivers(hook: Hook, tmp_path: Path) -> Receivers:
    """An Alertmanager and a webhook, both at that server."""
    (tmp_path / "secret").write_text("s")
    return parse(
        f'[alertmanager.main]\nurls = ["{hook.url}"]\nresend = "1s"\n'
        f'[webhook.tickets]\nurl = "{hook.url}/tickets"\nsecret_file = "{tmp_path / "secret"}"\n'
    )


@contextmanager
def running(
    store: Store, receivers: Receivers, source: Given, elected: Callable[[], bool] = lambda: True
) -> Iterator[Dispatcher]:
    """A server's dispatcher, while the block runs."""
    it = Dispatcher(store, receivers, source, elected=elected)
    it.start()
    try:
        yield it
    finally:
        it.stop()


def paths(hook: Hook) -> set[str]:
    """Where something was posted to."""
    return {request.path for request in hook.requests}


def test_all_receivers_are_told_at_once(store: Store, receivers: Receivers, hook: Hook) -> None:
    """When it is woken; or, where another server saw the change, when it looks."""
    source = Given()
    with running(store, receivers, source) as it:
        wait_for("the election", lambda: it.elected)
        source.alerts.append(alert(1))
        it.wake()
        wait_for("both", lambda: paths(hook) == {"/api/v2/alerts", "/tickets"}, 15)
        source.alerts.append(alert(2))
        source.changes += 1
        told = "/tickets"
        wait_for("the second", lambda: sum(request.path == told for request in hook.requests) == 2, 15)
        assert {standing.kind: standing.failures for standing in it.standings} == {"alertmanager": 0, "webhook": 0}


def test_one_of_two_servers_tells(store: Store, receivers: Receivers, hook: Hook) -> None:
    """When that one is elected no more the other one does; the webhook is told once."""
    source, elected = Given([alert(1)]), ["first"]
    with (
        running(store, receivers, source, lambda: "first" in elected) as first,
        running(store, receivers, source, lambda: "second" in elected) as second,
    ):
        wait_for("the webhook", lambda: paths(hook) == {"/tickets", "/api/v2/alerts"})
        assert (first.elected, second.elected) == (True, False)
        elected[:] = ["second"]
        wait_for("the change", lambda: second.elected and not first.elected)
        hook.requests.clear()
        wait_for("the Alertmanager", lambda: "/api/v2/alerts" in paths(hook), 30)
    assert "/tickets" not in paths(hook)


def test_it_ends_whenever_it_is_told_to(store: Store, hook: Hook) -> None:
    """Also between two looks at whether it is to end: nobody waits for the next time that something is told."""

    class Told(threading.Event):
        def clear(self) -> None:
            """At this moment all is to end."""
            it._stopping.set()
            it.wake()
            super().clear()

    it = Dispatcher(store, parse(f'[alertmanager.main]\nurls = ["{hook.url}"]\nresend = "600s"'), Given())
    it._woken = [Told()]
    it.start()
    for thread in it._threads:
        thread.join(20)
        assert not thread.is_alive()
    it.stop()


def test_without_receivers_nothing_runs(store: Store) -> None:
    """No thread, no election."""
    with running(store, Receivers(), Given([alert(1)])) as it:
        assert (it.elected, it.standings) == (False, [])


def test_what_is_needed_at_once_is_asked_for_at_once(store: Store, tmp_path: Path) -> None:
    """Apprise's URLs: without them there is no telling how many places there are."""
    with pytest.raises(ReceiversError, match="can't read urls_file"):
        Dispatcher(store, parse(f'[apprise.chat]\nurls_file = "{tmp_path / "none"}"'), Given())


def test_one_that_was_away_is_told_of_all_that_ended(hook: Hook) -> None:
    """As far back as it was told last; after a start, of a day."""
    moment = NOW
    settings = msgspec.convert({"urls": [hook.url], "resend": "30s"}, AlertmanagerSettings)
    source = Given([alert(1), resolved(alert(2), NOW - 20 * HOUR), resolved(alert(3), NOW - 30 * HOUR)])
    it = AlertmanagerChannel("main", hook.url, settings, source, lambda: moment)
    try:
        assert it.step() == 30
        assert len(hook.requests[-1].json) == 2
        hook.says(503)
        moment += 5 * HOUR
        source.alerts[0] = resolved(alert(1), NOW + HOUR)
        assert it.step() <= 10
        hook.says(200)
        it.step()
        assert [one["labels"]["hostname"] for one in hook.requests[-1].json] == ["node-1"]
        moment += HOUR
        hook.requests.clear()
        it.step()
        assert [len(request.json) for request in hook.requests] in ([], [1])
    finally:
        it.close()


def test_what_the_store_says(store: Store) -> None:
    """What fires and is told, and what was and ended; not what waits, is held back, or never was told."""
    rows = [
        ("fires", "firing", None, NOW, None),
        ("waits", "pending", None, None, None),
        ("held", "firing", "silence 3", NOW, None),
        ("over", "resolved", None, NOW, NOW + 2 * SECOND),
        ("long over", "resolved", None, NOW, NOW - HOUR),
        ("never told", "resolved", "alert 1", None, NOW + 2 * SECOND),
    ]
    with store.writing() as connection:
        for subject, state, held_by, told_at, resolved_at in rows:
            row: dict[str, Any] = {
                "rule": "gpu_lost",
                "subject": subject,
                "scope": "gpu",
                "severity": "critical",
                "state": state,
            }
            row |= {"labels": {"hostname": subject, "rack": ""}, "text": "ill", "since": NOW, "last_true": NOW}
            row |= {"fired_at": NOW, "held_by": held_by, "told_at": told_at, "resolved_at": resolved_at, "version": 1}
            connection.execute(insert(alerts).values(row))
    source = StoreSource(store, lambda rule: f"mend the {rule}", lambda: NOW)
    fires, over = source.current(NOW)
    assert fires.labels == {"alertname": "gpu_lost", "severity": "critical", "hostname": "fires"}
    assert (fires.advice, over.labels["hostname"], over.resolved_at) == ("mend the gpu_lost", "over", NOW + 2 * SECOND)
    before = source.marker()
    source.rejected(fires, "main", "no such label")
    assert source.marker() > before
    with store.reading() as connection:
        noted = connection.execute(select(alert_log.c.change, alert_log.c.by, alert_log.c.text)).one()
    assert tuple(noted) == ("refused", "main", "no such label")


def test_from_the_store_to_the_outbox(store: Store, receivers: Receivers, hook: Hook) -> None:
    """An alert that the engine wrote is delivered, and so is its end."""
    with store.writing() as connection:
        row: dict[str, Any] = {
            "rule": "gpu_lost",
            "subject": "gpu:1",
            "scope": "gpu",
            "severity": "critical",
            "state": "firing",
        }
        row |= {"labels": {}, "text": "ill", "since": NOW, "last_true": NOW, "fired_at": NOW, "told_at": NOW}
        connection.execute(insert(alerts).values(row | {"version": 1}))
    it = Dispatcher(store, receivers, StoreSource(store, lambda _rule: ""))
    it.start()
    try:
        wait_for("its begin", lambda: "/tickets" in paths(hook), 30)
        with store.writing() as connection:
            connection.execute(update(alerts).values(state="resolved", resolved_at=2 * NOW))
        it.wake()
        ends = {"change": "resolved"}
        wait_for("its end", lambda: any(ends.items() <= _json(each).items() for each in hook.requests), 30)
    finally:
        it.stop()
    with store.reading() as connection:
        assert deliveries.counts(connection) == {("tickets", "delivered"): 2}


def _json(request: object) -> dict[str, object]:
    body = request.json  # type: ignore[attr-defined]
    return body if isinstance(body, dict) else {}
