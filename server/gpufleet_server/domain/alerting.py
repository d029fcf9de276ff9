"""The life of an alert: from its state, and whether its condition holds, to its next state. Times in µs."""

import enum
from dataclasses import dataclass, replace


class Severity(enum.StrEnum):
    """How soon somebody should look: at once; today; when there is time."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class AlertState(enum.StrEnum):
    """Pending: it holds, but not for long enough yet. Resolved is the end: what comes back is another alert."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Truth(enum.Enum):
    """What an evaluation says of a condition. Unknown neither begins nor ends an alert."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Life:
    """How an alert stands.

    `since`: since when it holds, without the time of which nothing is known; `last_true`: when it last was known to
    hold (while pending: when it was last looked at); `fired_at`, `resolved_at`: None where it did not.
    """

    state: AlertState
    since: int
    last_true: int
    fired_at: int | None = None
    resolved_at: int | None = None


def step(life: Life | None, truth: Truth, at: int, *, wait: int, keep: int) -> Life | None:
    """The next state. None: there is no alert, none begins, and a pending one that no longer holds leaves nothing.

    `wait`: for how long it must hold before it fires; `keep`: for how long a firing one stays after it last held, µs.
    An evaluation of an earlier time than the last one changes nothing.
    """
    if life is None:
        return _begun(at, wait) if truth is Truth.TRUE else None
    if life.state is AlertState.RESOLVED or at < life.last_true:
        return life
    return (_pending if life.state is AlertState.PENDING else _firing)(life, truth, at, wait, keep)


def _begun(at: int, wait: int) -> Life:
    return Life(AlertState.PENDING, at, at) if wait > 0 else Life(AlertState.FIRING, at, at, at)


def _pending(life: Life, truth: Truth, at: int, wait: int, _keep: int) -> Life | None:
    if truth is Truth.FALSE:
        return None
    if truth is Truth.UNKNOWN:
        # What is not known does not count towards the wait.
        return replace(life, since=life.since + at - life.last_true, last_true=at)
    if at - life.since >= wait:
        return replace(life, state=AlertState.FIRING, last_true=at, fired_at=at)
    return replace(life, last_true=at)


def _firing(life: Life, truth: Truth, at: int, _wait: int, keep: int) -> Life:
    if truth is Truth.TRUE:
        return replace(life, last_true=at)
    if truth is Truth.FALSE and at - life.last_true >= keep:
        return replace(life, state=AlertState.RESOLVED, resolved_at=at)
    return life
