"""One Alertmanager, by its API v2: it is told again and again of all that fires, so that nothing can be lost.

An alert is known to it by its labels. It holds an alert for firing until `endsAt`, which each sending moves ahead; one
that ended is sent with the time at which it did.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gpufleet_server.alerts.delivery.alert import Alert
from gpufleet_server.alerts.delivery.errors import NotDelivered
from gpufleet_server.alerts.delivery.http import Poster
from gpufleet_server.alerts.delivery.settings import AlertmanagerSettings
from gpufleet_server.domain import clock, times

PATH = "/api/v2/alerts"
# How many resends may fail before it takes what fires for resolved; Prometheus has the same.
_PATIENCE = 4
# It may be another's fault that all was refused: what is refused alone is tried again after this, µs.
_AGAIN = 600 * clock.SECOND
_REFUSED = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Rejected:
    """An alert that it does not take, and what it says."""

    alert: Alert
    reason: str


@dataclass(slots=True)
class _Round:
    """What became of one sending."""

    accepted: int = 0
    rejected: list[Rejected] = field(default_factory=list)


class Alertmanager:
    """Sends to one Alertmanager. From one thread at a time."""

    def __init__(self, url: str, settings: AlertmanagerSettings, now: Callable[[], int] = clock.now) -> None:
        self.url, self._settings, self._now = url, settings, now
        self._poster = Poster(settings)
        # What it refused, as it was sent, and until when (µs) it is left out.
        self._refused: dict[bytes, int] = {}

    @property
    def refused(self) -> int:
        """How many alerts it does not take, and are left out."""
        return len(self._refused)

    def send(self, alerts: Iterable[Alert]) -> list[Rejected]:
        """Send all of them; those newly refused. NotDelivered where it can't be reached, or takes none."""
        known = {self._identity(alert): alert for alert in self._one_each(alerts)}
        now = self._now()
        self._refused = {key: until for key, until in self._refused.items() if key in known and now < until}
        done = _Round()
        # What changed last goes first: it waits for the rest of a large fleet's alerts no longer than it must.
        due = [alert for key, alert in known.items() if key not in self._refused]
        due.sort(key=lambda alert: alert.changed_at, reverse=True)
        for first in range(0, len(due), self._settings.batch):
            self._post(due[first : first + self._settings.batch], done)
        if len(done.rejected) > 1 and not done.accepted:
            raise NotDelivered(f"it takes none of {len(done.rejected)} alerts: {done.rejected[0].reason}")
        self._refused |= {self._identity(each.alert): now + _AGAIN for each in done.rejected}
        return done.rejected

    def close(self) -> None:
        """Close its connections."""
        self._poster.close()

    def payload(self, alert: Alert) -> dict[str, Any]:
        """The alert as it is sent now."""
        ends = alert.resolved_at
        if ends is None:
            ends = self._now() + round(_PATIENCE * self._settings.resend_s * clock.SECOND)
        annotations = {"summary": alert.text, "advice": alert.advice}
        if alert.value is not None:
            annotations["value"] = f"{alert.value:g}"
        return {
            "labels": self._labels(alert),
            "annotations": {name: text for name, text in annotations.items() if text},
            "startsAt": times.iso(alert.fired_at),
            # It refuses an alert that ends before it begins.
            "endsAt": times.iso(max(ends, alert.fired_at)),
        }

    def _labels(self, alert: Alert) -> dict[str, str]:
        return {name: value for name, value in {**alert.labels, **self._settings.labels}.items() if value}

    def _one_each(self, alerts: Iterable[Alert]) -> Sequence[Alert]:
        """Of those with the same labels the one that fires, else the last that ended."""
        found: dict[tuple[tuple[str, str], ...], Alert] = {}
        for alert in sorted(alerts, key=lambda alert: (alert.resolved_at is None, alert.changed_at)):
            found[tuple(sorted(self._labels(alert).items()))] = alert
        return list(found.values())

    def _identity(self, alert: Alert) -> bytes:
        """What is told of it but for the time until which it is good."""
        told = self.payload(alert)
        if alert.resolved_at is None:
            del told["endsAt"]
        return msgspec.json.encode(told)

    def _post(self, batch: Sequence[Alert], done: _Round) -> None:
        """Send a batch; one that is refused by halves, until those are alone that it does not take."""
        if not batch:
            return
        try:
            body = msgspec.json.encode([self.payload(alert) for alert in batch])
            self._poster.post(self.url.rstrip("/") + PATH, body)
            done.accepted += len(batch)
        except NotDelivered as error:
            if error.status not in _REFUSED:
                raise
            if len(batch) == 1:
                done.rejected.append(Rejected(batch[0], str(error)))
                return
            middle = len(batch) // 2
            self._post(batch[:middle], done)
            self._post(batch[middle:], done)
