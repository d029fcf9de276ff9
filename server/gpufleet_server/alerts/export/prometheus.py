"""Rules for those who scrape the agents: a Prometheus rule file.

Only what an agent's page tells can be a rule there. A rule's module says it in a constant PROMQL beside RULE, in which
`$name` stands for a threshold and `$xids_reset_gpu` for the codes of that class.
"""

import importlib
import string
from collections.abc import Iterator
from typing import Any

from gpufleet_server.alerts import rules
from gpufleet_server.alerts.export.telling import length, summary
from gpufleet_server.alerts.overrides import InForce, Overrides
from gpufleet_server.alerts.rule import Rule, Scope
from gpufleet_server.domain.xids import Action, Table, catalogue

FILE = "gpufleet.rules.yml"
# What a rule's text calls what, where the agent's page and Prometheus have a label for it.
_OF_GPU = {"code": "xid", "index": "index", "gpu": "uuid", "model": "model", "hostname": "instance", "node": "instance"}
_OF_NODE = {"hostname": "instance", "node": "instance"}


def document(overrides: Overrides, xids: Table | None = None) -> dict[str, Any]:
    """The rule file, as it is to be written as YAML. Thresholds of single sites and models are not in it."""
    return {"groups": [{"name": "gpufleet", "rules": list(_rules(overrides, xids or catalogue()))}]}


def expression(rule: InForce, xids: Table) -> str | None:
    """What a rule's module says for Prometheus, with the thresholds in force; None where it says nothing."""
    module = importlib.import_module(f"{rules.__name__}.{rule.rule.name}")
    found: str | None = getattr(module, "PROMQL", None)
    numbers = {name: f"{value:g}" for name, value in rule.limits.usual.items()}
    codes = {f"xids_{action.value}": "|".join(map(str, xids.codes(action))) for action in Action}
    return None if found is None else " ".join(string.Template(found).substitute(codes | numbers).split())


def _rules(overrides: Overrides, xids: Table) -> Iterator[dict[str, Any]]:
    for each in overrides.rules.values():
        if each.manner.enabled and (wanted := expression(each, xids)) is not None:
            yield _rule(each, wanted)


def _rule(rule: InForce, wanted: str) -> dict[str, Any]:
    about, manner = rule.rule, rule.manner
    times = {"for": manner.wait, "keep_firing_for": manner.keep}
    return {
        "alert": about.name,
        "expr": wanted,
        **{name: length(micros) for name, micros in times.items() if micros},
        "labels": {"severity": manner.severity.value, **about.labels},
        "annotations": {"summary": _summary(about), "advice": about.advice},
    }


def _summary(rule: Rule) -> str:
    if rule.scope in (Scope.GPU, Scope.PARTITION):
        return summary(rule, _OF_GPU, "GPU {{ $labels.index }} of {{ $labels.instance }}")
    return summary(rule, _OF_NODE, "{{ $labels.instance }}")
