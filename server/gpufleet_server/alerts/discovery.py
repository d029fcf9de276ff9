"""Finds the rules by looking through their package."""

import functools
import importlib
import logging
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts import rules
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight

_LOG = logging.getLogger(__name__)
# What an import runs into where a module is not as it should be.
_BROKEN = (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, LookupError, OSError)


@functools.cache
def every_rule() -> Mapping[str, Rule]:
    """All rules by name, in the order of their names. One that can't be had fails whenever it is evaluated."""
    found = [_rule_or_failure(each.name) for each in pkgutil.iter_modules(rules.__path__)]
    return MappingProxyType({rule.name: rule for rule in sorted(found, key=lambda rule: rule.name)})


def runbook(rule: str) -> str:
    """What to do about an alert of a rule: its module's docstring; empty where it can't be had."""
    try:
        return (importlib.import_module(f"{rules.__name__}.{rule}").__doc__ or "").strip()
    except _BROKEN:
        return ""


def _rule_or_failure(name: str) -> Rule:
    try:
        return _rule(name)
    except _BROKEN as error:
        _LOG.exception("alerts: rule %s can't be had, and will be told as failing", name)
        return _failing(name, f"{type(error).__name__}: {error}")


def _failing(name: str, why: str) -> Rule:
    """A rule in the place of one that can't be had: `rule_failing` tells of it, and the others go on."""

    def condition(_: Sight) -> Select[Any]:
        raise RuntimeError(f"the rule can't be had: {why}")

    return Rule(
        name=name,
        severity=Severity.WARNING,
        scope=Scope.FLEET,
        condition=condition,
        text=why,
        advice="Install gpufleet's server anew.",
        needs=Needs.NOTHING,
        share=None,
    )


def _rule(name: str) -> Rule:
    found = getattr(importlib.import_module(f"{rules.__name__}.{name}"), "RULE", None)
    if not isinstance(found, Rule) or found.name != name:
        raise TypeError(f"{rules.__name__}.{name} must have a Rule of that name, named RULE")
    return found
