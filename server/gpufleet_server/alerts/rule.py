"""What a rule is: a condition over the store, how long it must hold, and what to tell and advise."""

import enum
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select

from gpufleet_server.domain.alerting import Severity

if TYPE_CHECKING:
    from gpufleet_server.alerts.sight import Sight

__all__ = ["KEY", "NAME", "Needs", "Rule", "Scope", "Severity", "Threshold"]

NAME = "[a-z][a-z0-9_]{0,62}"
# Of the columns that a condition's select gives, those that say which subject a row is of.
KEY = "key"


class Scope(enum.StrEnum):
    """What an alert is about. The value is also how its subject begins."""

    GPU = "gpu"
    PARTITION = "partition"
    NODE = "node"
    RACK = "rack"
    SITE = "site"
    FLEET = "fleet"
    SERVER = "server"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a select that name a subject, besides `key`."""
        return _COLUMNS[self]


_COLUMNS = {
    Scope.GPU: ("gpu_id",),
    Scope.PARTITION: ("gpu_id", "partition"),
    Scope.NODE: ("node_id",),
    Scope.RACK: ("site", "rack"),
    Scope.SITE: ("site",),
    Scope.FLEET: (),
    Scope.SERVER: ("server",),
}


class Needs(enum.Enum):
    """What has to be there to know that a condition does not hold. Where it is not, an alert stays as it is."""

    NOTHING = "nothing"
    REPORT = "its node reports"
    DRIVER = "its node reports and its driver answers"
    SAMPLE = "the GPU has a sample of now, with the metrics that the condition reads"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number of a rule that may be set otherwise: its usual value, unit, and where that comes from."""

    value: float
    unit: str
    source: str


def _nothing() -> Mapping[str, Any]:
    return types.MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A typed, inert constant; a module of `rules` holds one, named RULE.

    `condition` makes a select with a row for each subject for which it holds now: the columns of its scope, `key` where
    one subject may have several such alerts, `value`, and what `text` names (`Sight.about` gives all of these).
    `text` is a format string over the row; what is None shows as a dash. `wait`: s that it must hold before it fires;
    `keep`: s after which it ends once it no longer holds; `every`: s between evaluations. `on_events`: kinds of events
    for which it is evaluated at once, for the nodes that had them. `held_by`: rules whose firing alert on the same
    node, rack or site holds this one's back. `share`: of the fleet, above which the alerts of a round are one; None
    never. `labels` go to receivers, and `key` as the label `key_label`; `source` says on what the whole rule rests.

    Where a select has several rows of one subject the first one counts. A column `severity` goes before the rule's.
    """

    name: str
    severity: Severity
    scope: Scope
    condition: "Callable[[Sight], Select[Any]]"
    text: str
    advice: str
    needs: Needs
    wait: int = 0
    keep: int = 0
    every: int = 15
    thresholds: Mapping[str, Threshold] = field(default_factory=_nothing)
    labels: Mapping[str, str] = field(default_factory=_nothing)
    key_label: str = KEY
    on_events: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    share: float | None = 0.2
    source: str = ""
