"""What holds an alert back: a wider one that explains it; the circuit breaker, where too many would begin at once."""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from gpufleet_server.alerts.rule import Rule, Scope


class Placed(Protocol):
    """An alert: whose it is, and where."""

    @property
    def alert_id(self) -> int:
        """Its number."""

    @property
    def rule(self) -> str:
        """The name of its rule."""

    @property
    def scope(self) -> str:
        """What it is about."""

    @property
    def node_id(self) -> int | None:
        """Its node."""

    @property
    def gpu_id(self) -> int | None:
        """Its GPU."""

    @property
    def site(self) -> str | None:
        """Its site."""

    @property
    def rack(self) -> str | None:
        """Its rack."""


_Place = tuple[str, object]
_Placed = TypeVar("_Placed", bound=Placed)


class Holders:
    """The firing alerts that may hold others back."""

    def __init__(self, rules: Mapping[str, Rule], firing: Iterable[Placed]) -> None:
        self._rules = rules
        names = {name for rule in rules.values() for name in rule.held_by}
        self._firing: dict[tuple[str, _Place], int] = {}
        for alert in firing:
            if alert.rule in names:
                self._firing.setdefault((alert.rule, _covers(alert)), alert.alert_id)

    def of(self, alert: Placed) -> int | None:
        """The number of the alert that holds this one back; None where none does."""
        rule = self._rules.get(alert.rule)
        for name in rule.held_by if rule is not None else ():
            for place in _places(alert):
                found = self._firing.get((name, place))
                if found is not None and found != alert.alert_id:
                    return found
        return None


def stood_for(rules: Mapping[str, Rule], alert: Placed, opened: Iterable[_Placed]) -> list[_Placed]:
    """The open alerts that this one holds back, or would once they fire."""
    place = _covers(alert)
    return [
        each
        for each in opened
        if (rule := rules.get(each.rule)) is not None and alert.rule in rule.held_by and place in _places(each)
    ]


def _covers(alert: Placed) -> _Place:
    """The place that an alert is about."""
    match alert.scope:
        case Scope.GPU | Scope.PARTITION:
            return "gpu", alert.gpu_id
        case Scope.NODE:
            return "node", alert.node_id
        case Scope.RACK:
            return "rack", (alert.site, alert.rack)
        case Scope.SITE:
            return "site", alert.site
    return "fleet", None


def _places(alert: Placed) -> list[_Place]:
    """The places in which an alert lies, the narrowest first."""
    places: list[tuple[str, object, bool]] = [
        ("gpu", alert.gpu_id, alert.gpu_id is not None),
        ("node", alert.node_id, alert.node_id is not None),
        ("rack", (alert.site, alert.rack), alert.rack is not None),
        ("site", alert.site, alert.site is not None),
        ("fleet", None, True),
    ]
    return [(kind, place) for kind, place, there in places if there]


def breaks(beginning: int, fleet: int, share: float | None, least: int) -> bool:
    """Whether so many alerts of one rule that begin together, of a fleet of so many subjects, are to be one."""
    return share is not None and fleet > 0 and beginning >= least and beginning > share * fleet
