"""Alerts, and where they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gpufleet_server.alerts.delivery.alert import Alert
from gpufleet_server.domain.clock import SECOND

NOW = 1_795_334_400 * SECOND


def alert(number: int = 1, **changes: Any) -> Alert:
    """An alert that fires since a minute."""
    labels = {
        "alertname": "gpu_lost",
        "severity": "critical",
        "hostname": f"node-{number}",
        "site": "ams1",
        "index": "0",
    }
    it = Alert(
        number, "gpu_lost", "critical", labels, f"GPU 0 of node-{number} is lost", "Reboot it.", NOW - 60 * SECOND
    )
    return replace(it, **changes)


def resolved(it: Alert, at: int = NOW) -> Alert:
    """It, ended."""
    return replace(it, resolved_at=at)


@dataclass
class Given:
    """Alerts that a test says there are."""

    alerts: list[Alert] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    changes: int = 0

    def marker(self) -> int:
        """How often the test said that they changed."""
        return self.changes

    def current(self, resolved_since: int) -> Sequence[Alert]:
        """Those that fire, or ended since."""
        return [it for it in self.alerts if it.resolved_at is None or it.resolved_at >= resolved_since]

    def rejected(self, alert: Alert, receiver: str, reason: str) -> None:
        """Note it."""
        self.refused.append((alert.id, receiver, reason))
