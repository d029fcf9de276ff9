"""Finds the rules by looking through their package."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from gpufleet_server.alerts import rules
from gpufleet_server.alerts.rule import Rule


@functools.cache
def every_rule() -> Mapping[str, Rule]:
    """All rules by name, in the order of their names."""
    found = [_rule(each.name) for each in pkgutil.iter_modules(rules.__path__)]
    return MappingProxyType({rule.name: rule for rule in sorted(found, key=lambda rule: rule.name)})


def runbook(rule: str) -> str:
    """What to do about an alert of a rule: its module's docstring."""
    return (importlib.import_module(f"{rules.__name__}.{rule}").__doc__ or "").strip()


def _rule(name: str) -> Rule:
    found = getattr(importlib.import_module(f"{rules.__name__}.{name}"), "RULE", None)
    if not isinstance(found, Rule) or found.name != name:
        raise TypeError(f"{rules.__name__}.{name} must have a Rule of that name, named RULE")
    return found
