"""What is done again and again for one receiver, by a thread of its own: a slow one keeps nobody else waiting."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gpufleet_server.alerts.delivery.alert import Alert, Change
from gpufleet_server.alerts.delivery.alertmanager import Alertmanager
from gpufleet_server.alerts.delivery.backoff import backoff
from gpufleet_server.alerts.delivery.errors import NotDelivered
from gpufleet_server.alerts.delivery.settings import AlertmanagerSettings, Filter
from gpufleet_server.alerts.delivery.source import Source
from gpufleet_server.domain import clock
from gpufleet_server.store import deliveries
from gpufleet_server.store.deliveries import Delivery, New
from gpufleet_server.store.engine import Store

_LOG = logging.getLogger(__name__)

# What ended is told at least for so long, and after a start as far back as that, µs.
_RESOLVED_KEPT = 900 * clock.SECOND
_LOOKED_BACK = 86_400 * clock.SECOND
# An Alertmanager that was away is to know again soon; a service that others share is spared.
_LONGEST_BACKOFF_S = 10.0
_LONGEST_PAUSE_S = 30.0
_GIVE_UP = 86_400 * clock.SECOND
# A try is another's once it has taken that much longer than it may, s.
_LEASE_S = 60.0


@dataclass(slots=True)
class Standing:
    """How it stands with one receiver. Times in µs; counts since the server's start."""

    name: str
    kind: str
    target: str
    sent: int = 0
    failures: int = 0
    failing_since: int | None = None
    error: str = ""
    last_success: int | None = None
    refused: int = 0
    dead: int = 0

    def succeeded(self, now: int, count: int) -> None:
        """It took so many."""
        if self.failing_since is not None:
            _LOG.warning("alerts: %s takes them again", self.name)
        self.sent, self.last_success, self.failing_since, self.error = self.sent + count, now, None, ""

    def failed(self, now: int, error: NotDelivered) -> None:
        """It took none."""
        if self.failing_since is None:
            _LOG.warning("alerts: %s does not take them, which will be tried again: %s", self.name, error)
        self.failures, self.error = self.failures + 1, str(error)
        self.failing_since = self.failing_since or now


class Channel(Protocol):
    """One receiver and what is done for it."""

    standing: Standing

    def step(self) -> float:
        """Tell what there is to tell; seconds until it is to be called again, sooner if an alert changes."""

    def close(self) -> None:
        """End."""


class AlertmanagerChannel:
    """Tells one Alertmanager all that fires, every `resend`, and what ended."""

    def __init__(
        self, name: str, url: str, settings: AlertmanagerSettings, source: Source, now: Callable[[], int] = clock.now
    ) -> None:
        self._settings, self._source, self._now = settings, source, now
        self._receiver = Alertmanager(url, settings, now)
        self.standing = Standing(name, "alertmanager", url)
        self._told: int | None = None
        self._failures = 0

    def step(self) -> float:
        """Tell it once."""
        now = self._now()
        # While it was away more may have ended than of late: all of that it still takes for firing.
        since = (self._told if self._told is not None else now - _LOOKED_BACK) - _RESOLVED_KEPT
        alerts = _taken(self._settings, self._source.current(since))
        try:
            rejected = self._receiver.send(alerts)
        except NotDelivered as error:
            self.standing.failed(now, error)
            self._failures += 1
            return error.after or backoff(self._failures, min(_LONGEST_BACKOFF_S, self._settings.resend_s))
        self._told, self._failures = now, 0
        self.standing.succeeded(now, len(alerts) - len(rejected))
        self.standing.refused = self._receiver.refused
        for each in rejected:
            _LOG.warning("alerts: %s does not take alert %d: %s", self.standing.name, each.alert.id, each.reason)
            self._source.rejected(each.alert, self.standing.name, each.reason)
        return self._settings.resend_s

    def close(self) -> None:
        """Close its connections."""
        self._receiver.close()


class Receiver(Protocol):
    """Somebody who is told each change once. From one thread at a time."""

    most: int

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Tell `most` of them at most. NotDelivered where none is taken."""

    def close(self) -> None:
        """End."""


class OutboxChannel:
    """Puts what changed into the outbox, and tells it until it is taken, or a day is over."""

    def __init__(
        self,
        standing: Standing,
        receiver: Receiver,
        wanted: Filter,
        source: Source,
        store: Store,
        *,
        resolved: bool = True,
        timeout_s: float = 60.0,
        now: Callable[[], int] = clock.now,
    ) -> None:
        self.standing, self._receiver, self._wanted, self._resolved = standing, receiver, wanted, resolved
        self._source, self._store, self._now = source, store, now
        self._lease = round((timeout_s + _LEASE_S) * clock.SECOND)
        self._looked: int | None = None
        self._failures = 0

    @property
    def name(self) -> str:
        """What it is called in the outbox."""
        return self.standing.name

    def step(self) -> float:
        """Tell all that is due, up to the first that fails."""
        self._fill(self._now())
        while taken := self._take():
            pause = self._tell(taken)
            if pause is not None:
                return pause
        with self._store.reading() as connection:
            due = deliveries.next_due(connection, self.name)
        return _LONGEST_PAUSE_S if due is None else min(_LONGEST_PAUSE_S, max(0.0, (due - self._now()) / 1e6))

    def close(self) -> None:
        """Close its connections."""
        self._receiver.close()

    def _fill(self, now: int) -> None:
        since = (self._looked if self._looked is not None else now - _LOOKED_BACK) - _RESOLVED_KEPT
        alerts = _taken(self._wanted, self._source.current(since))
        if alerts:
            with self._store.reading() as connection:
                known = deliveries.known(connection, self.name, [alert.id for alert in alerts])
                newest = deliveries.newest(connection, self.name)
            if new := to_tell(alerts, known, newest, resolved=self._resolved):
                with self._store.writing() as connection:
                    deliveries.add(connection, self.name, new, now, now + _GIVE_UP)
        self._looked = now

    def _take(self) -> list[Delivery]:
        now = self._now()
        with self._store.reading() as connection:
            due = deliveries.next_due(connection, self.name)
        if due is None or due > now:
            return []
        with self._store.writing() as connection:
            return deliveries.take(connection, self.name, now, now + self._lease, self._receiver.most)

    def _tell(self, taken: Sequence[Delivery]) -> float | None:
        """Tell some; seconds to leave the receiver alone, if that failed."""
        try:
            self._receiver.send(taken)
        except NotDelivered as error:
            self.standing.failed(self._now(), error)
            return self._failed(taken, error)
        self._failures = 0
        self.standing.succeeded(self._now(), len(taken))
        with self._store.writing() as connection:
            deliveries.finish(connection, taken, self._now())
        return None

    def _failed(self, taken: Sequence[Delivery], error: NotDelivered) -> float | None:
        now = self._now()
        # Together they may be too much for it; one alone that it will never take is given up.
        final = error.final and len(taken) == 1
        lost = [each for each in taken if final or now >= each.give_up_at]
        self.standing.dead += len(lost)
        for each in lost:
            _LOG.warning("alerts: gave up telling %s of alert %d: %s", self.name, each.alert_id, error)
        with self._store.writing() as connection:
            deliveries.finish(connection, lost, now, error=str(error))
            for each in (each for each in taken if each not in lost):
                wait = max(error.after or 0.0, backoff(each.attempts))
                deliveries.put_back(connection, [each], now + round(wait * clock.SECOND), str(error))
        if final:
            return None
        self._failures += 1
        return max(error.after or 0.0, backoff(self._failures, _LONGEST_PAUSE_S))


def to_tell(
    alerts: Sequence[Alert], known: set[tuple[int, str]], newest: int | None, *, resolved: bool = True
) -> list[New]:
    """What a receiver is to be told of these alerts, in the order in which it happened, and was not yet.

    `known`: (alert, change) that is in its outbox; `newest`: when something was last put there. An alert that fired
    since then and has ended already is told all the same; one that ended before it had this receiver is not.
    """
    found: list[tuple[int, New]] = []
    for alert in alerts:
        fired = (alert.id, Change.FIRING.value) in known
        if not fired and (
            alert.change is Change.FIRING or (newest is not None and max(alert.fired_at, alert.told_at) > newest)
        ):
            found.append((alert.fired_at, _new(replace(alert, resolved_at=None))))
            fired = True
        ended = alert.change is Change.RESOLVED and (alert.id, Change.RESOLVED.value) not in known
        if fired and ended and resolved:
            found.append((alert.changed_at, _new(alert)))
    # Stable: what fired and ended at one moment fired first.
    return [new for _, new in sorted(found, key=lambda each: each[0])]


def _new(alert: Alert) -> New:
    return New(alert.id, alert.change.value, alert.told())


def _taken(wanted: Filter, alerts: Sequence[Alert]) -> list[Alert]:
    return [alert for alert in alerts if wanted.takes(alert.severity, alert.labels)]
