"""An alert as others are told of it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gpufleet_server.domain import times


class Change(enum.StrEnum):
    """What an alert did."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires, or did. Times are µs since the epoch.

    `labels` say which alert it is, to everyone and for all of its life: `alertname` (its rule), `severity`, and those
    of its subject; empty ones are left out. `value` is what was measured, where that is a number. `told_at`: since when
    others are to be told of it, which is later than it fired where it was held back.
    """

    id: int
    rule: str
    severity: str
    labels: Mapping[str, str]
    text: str
    advice: str
    fired_at: int
    resolved_at: int | None = None
    value: float | None = None
    told_at: int = 0

    @property
    def change(self) -> Change:
        """What it did last."""
        return Change.FIRING if self.resolved_at is None else Change.RESOLVED

    @property
    def changed_at(self) -> int:
        """When it did that."""
        return self.fired_at if self.resolved_at is None else self.resolved_at

    def told(self) -> dict[str, Any]:
        """It as JSON, for those who are told of each change."""
        return {
            "id": self.id,
            "rule": self.rule,
            "severity": self.severity,
            "labels": dict(self.labels),
            "text": self.text,
            "advice": self.advice,
            "value": self.value,
            "fired_at": times.iso(self.fired_at),
            "resolved_at": None if self.resolved_at is None else times.iso(self.resolved_at),
        }
