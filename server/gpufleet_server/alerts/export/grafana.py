"""Rules for Grafana's own alerting, over the store on PostgreSQL: a file for its provisioning.

Each rule's select, with the values in it, is a query that gives a series for each subject for which it holds now: its
texts are the labels. An expression takes the last value, another one compares it.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import BigInteger, Select, String, cast, func, literal, literal_column, select
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import visitors

from gpufleet_server.alerts.export.telling import length, summary
from gpufleet_server.alerts.overrides import InForce, Overrides
from gpufleet_server.alerts.rule import KEY
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.xids import Table, catalogue

FILE = "gpufleet-alerts.yml"
DATASOURCE = "gpufleet-pg"
FOLDER = "gpufleet"

# Which alert it is: of the columns of a rule's select those that Grafana makes labels of.
_PLACE = ("site", "rack", "hostname", "node", "gpu", "index", "model", "serial", "partition", "server")
_LABELS = (*_PLACE, "user", "job", "namespace", KEY)
# A rule whose select has this column says of each subject how severe it is.
_SEVERITY = "severity"
# What is of a server's own evaluation is of no use to who evaluates by other means.
_OWN = frozenset({"rule_runs", "servers"})
_NOW = literal_column("(extract(epoch FROM now()) * 1000000)::bigint", BigInteger())
# What may have a dollar sign in it, such as the name of a site.
_TEXT = re.compile("'(?:[^']|'')*'")
_LONGEST_UID = 40
_INTERVAL = "60s"
# How far back Grafana lets a query look; these take their times from the database's clock.
_RANGE_S = 600


def document(
    overrides: Overrides, datasource: str = DATASOURCE, folder: str = FOLDER, xids: Table | None = None
) -> dict[str, Any]:
    """The file, as it is to be written as YAML. `datasource` is the uid of Grafana's data source for the store."""
    found = [_rule(rule, wanted, datasource) for rule, wanted in _exported(overrides, xids)]
    return {
        "apiVersion": 1,
        "groups": [{"orgId": 1, "name": "gpufleet", "folder": folder, "interval": _INTERVAL, "rules": found}],
    }


def queries(overrides: Overrides) -> dict[str, str]:
    """Each exported rule's SQL, by the rule's name."""
    return {rule.rule.name: sql(rule, wanted) for rule, wanted in _exported(overrides)}


def tables(overrides: Overrides) -> list[str]:
    """The tables that the role with which Grafana reads has to be let into."""
    return sorted({name for _, wanted in _exported(overrides) for name in _tables(wanted)})


def sql(rule: InForce, wanted: Select[Any]) -> str:
    """The select as Grafana is given it: columns `time`, `firing`, and a text for each label."""
    there = wanted.subquery("subject")
    labels = [_text(there.c[name], rule.rule.key_label if name == KEY else name) for name in _LABELS if name in there.c]
    if _SEVERITY in there.c:
        usual = literal(rule.manner.severity.value, String())
        labels.append(func.coalesce(cast(there.c[_SEVERITY], String()), usual).label(_SEVERITY))
    query = select(func.now().label("time"), literal_column("1").label("firing"), *labels).select_from(there)
    # A subject is one series, however many rows it has.
    # Not psycopg's dialect, which would write each % twice.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    written = str(query.distinct().compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    return _TEXT.sub(_without_dollars, written)


def _without_dollars(text: re.Match[str]) -> str:
    """A text without the sign after which Grafana looks for its macros; one operand, whatever stands beside it."""
    parts = text[0].replace("$", "' || chr(36) || '")
    return parts if parts == text[0] else f"({parts})"


def _exported(overrides: Overrides, xids: Table | None = None) -> Iterator[tuple[InForce, Select[Any]]]:
    for each in overrides.rules.values():
        wanted = each.rule.condition(Sight(_NOW, each.limits, "postgresql", xids=xids or catalogue()))
        if each.manner.enabled and not _OWN & _tables(wanted):
            yield each, wanted


def _tables(wanted: Select[Any]) -> set[str]:
    return {part.name for part in visitors.iterate(wanted) if isinstance(part, SqlTable)}


def _text(column: Any, name: str) -> Any:
    return func.coalesce(cast(column, String()), literal("", String())).label(name)


def _rule(rule: InForce, wanted: Select[Any], datasource: str) -> dict[str, Any]:
    about, manner = rule.rule, rule.manner
    labels = {name: name for name in _LABELS if name in wanted.selected_columns and name != KEY}
    if KEY in wanted.selected_columns:
        labels[KEY] = about.key_label
    own = {} if _SEVERITY in wanted.selected_columns else {_SEVERITY: manner.severity.value}
    times = {"for": manner.wait, "keepFiringFor": manner.keep}
    return {
        "uid": uid(about.name),
        "title": about.name,
        "condition": "C",
        **{name: length(micros) for name, micros in times.items()},
        # No row is no subject for which it holds.
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": {**own, **about.labels},
        "annotations": {"summary": summary(about, labels, _where(labels)), "advice": about.advice},
        "data": _steps(sql(rule, wanted), datasource),
    }


def uid(name: str) -> str:
    """The uid of a rule: Grafana takes no longer ones than 40 characters."""
    whole = f"gpufleet-{name}".replace("_", "-")
    if len(whole) <= _LONGEST_UID:
        return whole
    return f"{whole[: _LONGEST_UID - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def _where(labels: dict[str, str]) -> str:
    names = [name for name in ("site", "rack", "hostname", "index") if name in labels]
    return " ".join(f"{{{{ $labels.{name} }}}}" for name in names)


def _steps(query: str, datasource: str) -> list[dict[str, Any]]:
    asked = {"refId": "A", "rawSql": query, "rawQuery": True, "format": "time_series", "editorMode": "code"}
    reduce = {"refId": "B", "type": "reduce", "expression": "A", "reducer": "last"}
    above = {"evaluator": {"type": "gt", "params": [0]}}
    threshold = {"refId": "C", "type": "threshold", "expression": "B", "conditions": [above]}
    window = {"from": _RANGE_S, "to": 0}
    return [
        {"refId": "A", "datasourceUid": datasource, "relativeTimeRange": window, "model": asked},
        {"refId": "B", "datasourceUid": "__expr__", "model": reduce},
        {"refId": "C", "datasourceUid": "__expr__", "model": threshold},
    ]
