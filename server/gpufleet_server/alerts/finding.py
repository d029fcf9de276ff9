"""What an evaluation found: a subject for which a condition holds, as an alert tells of it."""

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select

from gpufleet_server.alerts.overrides import InForce, Manner
from gpufleet_server.alerts.rule import KEY, Rule, Scope, Severity
from gpufleet_server.alerts.sight import NothingSeen, Sight

# The parameters of a select that is asked again and again: the time, and since when servers listen, µs.
AT, SINCE = "sight_at", "sight_heard_since"
_ABSENT = "–"
_LONGEST = 1024
# Labels of an alert, from columns of these names: which it is, and where. They stay as they were when it began.
_PLACE = ("site", "rack", "hostname", "node", "gpu", "index", "model", "serial", "partition", "server")
# And whose job or pod it is about, so that it can be told to them.
_LABELS = (*_PLACE, "user", "job", "namespace")


@dataclass(frozen=True, slots=True)
class Finding:
    """One subject. `manner` is how the rule goes for its site and model."""

    subject: str
    node_id: int | None
    gpu_id: int | None
    site: str | None
    rack: str | None
    labels: Mapping[str, str]
    value: float | None
    text: str
    manner: Manner


def find(connection: Connection, rule: InForce, sight: Sight, given: Select[Any] | None = None) -> dict[str, Finding]:
    """All subjects for which a rule's condition holds, by subject. What goes wrong is the caller's.

    `given` is its select with AT and SINCE to fill in from `sight`, where it was made before.
    """
    try:
        condition = rule.rule.condition(sight) if given is None else given
    except NothingSeen:
        return {}
    rows = connection.execute(condition, {AT: sight.at, SINCE: sight.heard_since}).mappings()
    found: dict[str, Finding] = {}
    for finding in findings(rule, (dict(row) for row in rows)):
        found.setdefault(finding.subject, finding)
    return found


def findings(rule: InForce, rows: Iterable[Mapping[str, Any]]) -> Iterable[Finding]:
    """What rows of a rule's select say; those of sites or models for which it is off are left out."""
    for row in rows:
        manner = rule.of(row.get("site"), row.get("model"))
        if manner.enabled:
            yield _finding(rule.rule, row, manner)


def _finding(rule: Rule, row: Mapping[str, Any], manner: Manner) -> Finding:
    value = row.get("value")
    if row.get("severity") is not None:
        manner = replace(manner, severity=Severity(row["severity"]))
    return Finding(
        subject=subject(rule, row),
        node_id=row.get("node_id"),
        gpu_id=row.get("gpu_id"),
        site=row.get("site"),
        rack=row.get("rack"),
        labels=_labels(rule, row),
        value=float(value) if isinstance(value, int | float) else None,
        text=_SHOWN.vformat(rule.text, (), row)[:_LONGEST],
        manner=manner,
    )


def subject(rule: Rule, row: Mapping[str, Any]) -> str:
    """The subject of a row, such as `gpu:17` or `gpu:17:79`; KeyError where a column that names it is missing."""
    scope = rule.scope
    if scope is Scope.GPU and row["gpu_id"] is None:
        # What is told of a GPU that nobody knows is its node's matter.
        scope = Scope.NODE
    parts = [row[name] for name in scope.columns]
    if row.get(KEY) is not None:
        parts.append(row[KEY])
    return ":".join([scope.value, *("" if part is None else str(part) for part in parts)])[:512]


def _labels(rule: Rule, row: Mapping[str, Any]) -> dict[str, str]:
    told = {name: row.get(name) for name in _LABELS} | {rule.key_label: row.get(KEY)}
    labels = {name: str(value) for name, value in told.items() if value not in (None, "")}
    return labels | ({"simulated": "true"} if row.get("simulated") else {}) | dict(rule.labels)


class _Shown(string.Formatter):
    """Shows what is None as a dash, whatever its format."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return _ABSENT if value is None else str(super().format_field(value, format_spec))


_SHOWN = _Shown()
