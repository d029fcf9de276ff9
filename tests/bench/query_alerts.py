"""The alerts that a month brings to a fleet of the benchmarks: open ones, those that are over, and how rules ran."""

import random
from collections.abc import Iterator
from typing import Any

from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.rule import Rule, Scope
from gpufleet_server.store.alerts import alert_log, alerts, rule_runs
from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.tiers import DAY, HOUR
from sqlalchemy import Connection, Table

from tests.bench.query_fleet import PER_NODE, SEED, QueryFleet

# Of a thousand GPUs: alerts that begin on a day, and those that stand open now.
_A_DAY, _OPEN = 4, 3
_MINUTE = 60_000_000


def add_alerts(connection: Connection, of: QueryFleet) -> None:
    """Fill the tables of alerts, of a store that has the fleet's inventory."""
    made = list(_alerts(of))
    _insert(connection, alerts, made)
    _insert(connection, alert_log, [_change(row, *each) for row in made for each in _changes(row)])
    _insert(connection, rule_runs, [_run(rule, of.scope.now) for rule in every_rule().values()])


def _alerts(of: QueryFleet) -> Iterator[dict[str, Any]]:
    chance, now = random.Random(SEED), of.scope.now
    rules = [rule for rule in every_rule().values() if rule.scope in (Scope.GPU, Scope.NODE)]
    over = max(of.scope.gpus * _A_DAY // 1000, 1) * of.scope.days
    still = max(of.scope.gpus * _OPEN // 1000, 1)
    begins = sorted(now - chance.randrange(of.scope.days * DAY) for _ in range(over + still))
    left = set(chance.sample(range(len(begins)), still))
    for number, since in enumerate(begins):
        ended = None if number in left else min(since + chance.randrange(_MINUTE, 12 * HOUR), now)
        yield _alert(number, chance.choice(rules), since, ended, of, chance)


def _alert(
    number: int, rule: Rule, since: int, ended: int | None, of: QueryFleet, chance: random.Random
) -> dict[str, Any]:
    place, slot = chance.randrange(len(of.nodes)), chance.randrange(PER_NODE)
    node, on_gpu = of.nodes[place], rule.scope is Scope.GPU
    gpu_id = place * PER_NODE + slot + 1 if on_gpu else None
    fired = since + rule.wait * 1_000_000
    seen = chance.random() < 0.3
    labels = {"site": node.site.name, "rack": node.rack, "hostname": node.hostname, "model": node.model.name}
    return {
        "alert_id": number + 1, "rule": rule.name, "subject": f"{rule.scope.value}:{gpu_id or place + 1}:{number}",
        "scope": rule.scope.value, "severity": rule.severity.value, "state": "firing" if ended is None else "resolved",
        "node_id": place + 1, "gpu_id": gpu_id, "site": node.site.name, "rack": node.rack,
        "labels": labels | ({"index": str(slot)} if on_gpu else {}) | {"simulated": "true"},
        "value": chance.uniform(0, 100), "text": f"{rule.name} on {node.hostname}, as the rule would tell it",
        "since": since, "last_true": ended or of.scope.now, "fired_at": fired,
        "resolved_at": ended and max(ended, fired),
        "held_by": None, "told_at": fired, "acknowledged_at": fired + _MINUTE if seen else None,
        "acknowledged_by": "someone on call" if seen else None, "acknowledged_why": "looking" if seen else None,
        "version": 1,
    }  # fmt: skip


def _changes(row: dict[str, Any]) -> Iterator[tuple[int, str]]:
    yield row["fired_at"], "fired"
    if row["acknowledged_at"] is not None:
        yield row["acknowledged_at"], "acknowledged"
    if row["resolved_at"] is not None:
        yield row["resolved_at"], "resolved"


def _change(row: dict[str, Any], at: int, change: str) -> dict[str, Any]:
    by = row["acknowledged_by"] if change == "acknowledged" else ""
    return {"alert_id": row["alert_id"], "at": at, "change": change, "by": by, "text": row["text"]}


def _run(rule: Rule, now: int) -> dict[str, Any]:
    return {
        "rule": rule.name, "ran_at": now, "succeeded_at": now, "failures": 0, "error": "", "seconds": 0.05,
        "found": 3, "held_back": 0, "held_since": None, "fleet": 1, "wait": rule.wait,
    }  # fmt: skip


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    # Listings go by what is told last: a log is written in the order of time.
    found = sorted(rows, key=lambda row: row["at"]) if table is alert_log else rows
    if found:
        listed = [{"log_id": n + 1} | row for n, row in enumerate(found)] if table is alert_log else found
        insert_rows(connection, table, list(listed[0]), (list(row.values()) for row in listed))
