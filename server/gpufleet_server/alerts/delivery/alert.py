"""An alert as others are told of it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass


class Change(enum.StrEnum):
    """What an alert did."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that fires, or did. Times are µs since the epoch.

    `labels` say which alert it is, to everyone and for all of its life: `alertname` (its rule), `severity`, and those
    of its subject; empty ones are left out. `value` is what was measured, where that is a number.
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

    @property
    def change(self) -> Change:
        """What it did last."""
        return Change.FIRING if self.resolved_at is None else Change.RESOLVED
