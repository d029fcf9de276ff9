"""What an owner sets otherwise than the rules say, from a TOML file: for a rule, and for its subjects somewhere.

[breaker]
share = 30                     # % of the fleet; alerts of one rule beyond it become one alert
least = 20

[rules.hot_against_limits]
enabled = true
severity = "critical"
wait = "10m"
keep = "10m"
thresholds = { margin = 5 }

[[rules.hot_against_limits.where]]
site = "fra1"                  # or model, or both
thresholds = { margin = 8 }
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpufleet_server.alerts.limits import Limits, Part
from gpufleet_server.alerts.rule import Rule, Severity
from gpufleet_server.domain import times
from gpufleet_server.domain.clock import SECOND

# Above this share of the fleet, and this number, the alerts of one rule in one round become one.
SHARE, LEAST = 0.2, 20


class OverridesError(Exception):
    """The file can't be used; the text names the field and its value."""


@dataclass(frozen=True, slots=True)
class Manner:
    """Whether a rule is on, how severe its alerts are, and how long it waits and keeps, µs."""

    enabled: bool
    severity: Severity
    wait: int
    keep: int


@dataclass(frozen=True, slots=True)
class InForce:
    """A rule as it is in force. `parts`: what is set otherwise for a site, a model, or both; the last one counts."""

    rule: Rule
    manner: Manner
    limits: Limits
    share: float | None
    parts: Sequence[tuple[str | None, str | None, Mapping[str, Any]]] = ()

    def of(self, site: str | None, model: str | None) -> Manner:
        """The manner for a subject of a site and a model."""
        found = self.manner
        for own_site, own_model, changes in self.parts:
            if own_site in (None, site) and own_model in (None, model):
                found = replace(found, **changes)
        return found


@dataclass(frozen=True, slots=True)
class Overrides:
    """All rules as they are in force; of fewer than `least` subjects at once the breaker takes no notice."""

    rules: Mapping[str, InForce]
    least: int = LEAST
    changed: frozenset[str] = field(default=frozenset())


def usual(rules: Mapping[str, Rule]) -> Overrides:
    """The rules as they say themselves."""
    return Overrides({name: _in_force(rule, {}, SHARE) for name, rule in rules.items()})


def read(path: Path | None, rules: Mapping[str, Rule]) -> Overrides:
    """The rules with what a file says. OverridesError where that can't be."""
    if path is None:
        return usual(rules)
    try:
        given = tomllib.loads(path.read_text())
    except OSError as error:
        raise OverridesError(f"can't read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OverridesError(f"{path} is no TOML: {error}") from error
    try:
        return parse(given, rules)
    except OverridesError as error:
        raise OverridesError(f"{path}: {error}") from None


def parse(given: Mapping[str, Any], rules: Mapping[str, Rule]) -> Overrides:
    """The rules with what a table says. OverridesError names what is wrong with it."""
    _known("", given, ("breaker", "rules"))
    breaker = _table("breaker", given.get("breaker", {}))
    _known("breaker", breaker, ("share", "least"))
    share = _share("breaker.share", breaker["share"]) if "share" in breaker else SHARE
    least = int(_number("breaker.least", breaker.get("least", LEAST), least=1))
    said = _table("rules", given.get("rules", {}))
    _known("rules", said, rules)
    found = {name: _in_force(rule, _table(f"rules.{name}", said.get(name, {})), share) for name, rule in rules.items()}
    return Overrides(found, least, frozenset(said))


_MANNER = ("enabled", "severity", "wait", "keep")


def _in_force(rule: Rule, given: Mapping[str, Any], share: float) -> InForce:
    where = f"rules.{rule.name}"
    _known(where, given, (*_MANNER, "thresholds", "share", "where"))
    own = share if rule.share is not None and rule.share == SHARE else rule.share
    parts = given.get("where", [])
    if not isinstance(parts, list):
        raise OverridesError(f"{where}.where is a list of tables ([[{where}.where]]), not {parts!r}")
    usual_manner = Manner(True, rule.severity, rule.wait * SECOND, rule.keep * SECOND)
    usual_limits = {name: threshold.value for name, threshold in rule.thresholds.items()}
    told = [_part(f"{where}.where[{number}]", part, rule) for number, part in enumerate(parts)]
    return InForce(
        rule,
        replace(usual_manner, **_manner(where, given)),
        Limits(usual_limits | _limits(where, given, rule), [limits for _, limits in told]),
        _share(f"{where}.share", given["share"]) if "share" in given else own,
        [(limits.site, limits.model, manner) for manner, limits in told],
    )


def _part(where: str, given: Any, rule: Rule) -> tuple[dict[str, Any], Part]:
    table = _table(where, given)
    _known(where, table, (*_MANNER, "thresholds", "site", "model"))
    site, model = (_text(f"{where}.{name}", table[name]) if name in table else None for name in ("site", "model"))
    if site is None and model is None:
        raise OverridesError(f"{where} needs a site or a model; without them it belongs into rules.{rule.name}")
    return _manner(where, table), Part(site, model, _limits(where, table, rule))


def _manner(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    readers: dict[str, Callable[[str, Any], Any]] = {
        "enabled": _flag, "severity": _severity, "wait": _length, "keep": _length,
    }  # fmt: skip
    return {name: reader(f"{where}.{name}", given[name]) for name, reader in readers.items() if name in given}


def _limits(where: str, given: Mapping[str, Any], rule: Rule) -> dict[str, float]:
    where = f"{where}.thresholds"
    table = _table(where, given.get("thresholds", {}))
    _known(where, table, rule.thresholds)
    return {name: _number(f"{where}.{name}", value) for name, value in table.items()}


def _known(where: str, given: Mapping[str, Any], names: Collection[str]) -> None:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(names)) or 'none'}"
            raise OverridesError(f"there is no {f'{where}.' if where else ''}{name}{hint}")


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise OverridesError(f"{where} is a table, not {value!r}")
    return value


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise OverridesError(f"{where} is a text, not {value!r}")
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise OverridesError(f"{where} is true or false, not {value!r}")
    return value


def _severity(where: str, value: Any) -> Severity:
    try:
        return Severity(value)
    except ValueError:
        raise OverridesError(f"{where} is one of {', '.join(Severity)}, not {value!r}") from None


def _length(where: str, value: Any) -> int:
    try:
        return times.length(str(value))
    except ValueError:
        raise OverridesError(f'{where} is a length of time such as 90, "30s" or "5m", not {value!r}') from None


def _number(where: str, value: Any, *, least: float = -math.inf) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value < least:
        wanted = "a number" if least == -math.inf else f"a number of {least:g} or more"
        raise OverridesError(f"{where} is {wanted}, not {value!r}")
    return float(value)


def _share(where: str, value: Any) -> float:
    share = _number(where, value, least=0)
    if share > 100:
        raise OverridesError(f"{where} is a share in %, 0 to 100, not {value!r}")
    return share / 100
