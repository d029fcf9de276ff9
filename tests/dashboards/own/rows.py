"""A small store: two sites' nodes, alerts of forty days, two servers of which one was down, rules that ran."""

import random
from dataclasses import dataclass, field
from typing import Any

from gpufleet_server.store.alerts import alert_log, alerts, rule_runs, servers
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.server_minutes import add_up_hour, server_minutes
from gpufleet_server.store.tiers import fleet_groups
from sqlalchemy import insert

Row = dict[str, Any]

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
_RULES = {"gpu_lost": "critical", "gpu_hot": "warning", "driver_drift": "info", "server_slow": "critical"}
_SITES = ("east", "west")


@dataclass
class Made:
    """All rows, by table; `end` (µs) is what boards take for now."""

    end: int
    tables: dict[Any, list[Row]] = field(default_factory=dict)

    def of(self, table: Any) -> list[Row]:
        """The rows of a table."""
        return self.tables[table]

    def into(self, store: Store) -> None:
        """Write them."""
        with store.writing() as connection:
            for table, rows in self.tables.items():
                connection.execute(insert(table), rows)
            for server, hour in {(each["server"], each["at"] // HOUR * HOUR) for each in self.of(server_minutes)}:
                add_up_hour(connection, server, hour)


def made(end: int) -> Made:
    """The same for the same end."""
    chance, found = random.Random(7), Made(end)
    found.tables[nodes] = [_node(number, end) for number in range(1, 9)]
    found.tables[gpus] = [_gpu(node, place, end) for node in range(1, 9) for place in (0, 1)]
    places = [{"site": site, "model": "H100", "simulated": False, "state": "reporting"} for site in _SITES]
    found.tables[fleet_groups] = places
    found.tables[alerts] = [_alert(number, end, chance) for number in range(1, 161)]
    found.tables[alert_log] = [each for alert in found.of(alerts) for each in _changes(alert)]
    found.tables[servers] = [_server("a", end - SECOND, end), _server("b", end - DAY, end)]
    found.tables[server_minutes] = [*_minutes("a", end, (0, 1440)), *_minutes("b", end, (0, 300), (360, 900))]
    found.tables[rule_runs] = [_run(place, name, end) for place, name in enumerate(_RULES)]
    return found


def _node(number: int, end: int) -> Row:
    return {
        "node_id": number, "uuid": f"node-uuid-{number}", "hostname": f"node{number}", "site": _SITES[number % 2],
        "rack": None if number == 3 else "r1", "agent_version": "0.1.0" if number < 6 else "0.0.9",
        "interval_ms": 10_000 * number, "driver_state": "ok", "driver_since": end - DAY,
        "clock_measured": (number - 4) * 700_000, "backlog_reports": 5 * (number % 3), "backlog_bytes": 1000 * number,
        "backlog_dropped": 4 if number == 6 else 0, "facts": {}, "first_seen": end - 40 * DAY,
        # So that none falls silent while tests run.
        "last_seen": end - DAY if number == 8 else end + HOUR,
    }  # fmt: skip


def _gpu(node: int, place: int, end: int) -> Row:
    return {
        "gpu_id": node * 10 + place, "node_id": node, "slot": place, "uuid": f"GPU-{node}-{place}", "model": "H100",
        "position": place, "identity": {}, "first_seen": end - 40 * DAY,
    }  # fmt: skip


def _alert(number: int, end: int, chance: random.Random) -> Row:
    rule = chance.choice(list(_RULES))
    fired = end - int(40 * DAY * chance.random() ** 3) - SECOND
    took = int(chance.expovariate(1 / (6 * HOUR)))
    over = None if fired + took > end or chance.random() < 0.1 else fired + took
    node = None if rule == "server_slow" else chance.randint(1, 8)
    acknowledged = fired + took // 3 if chance.random() < 0.4 else None
    return {
        "alert_id": number, "rule": rule, "subject": f"s:{number}", "scope": "gpu", "severity": _RULES[rule],
        "state": "firing" if over is None else "resolved", "node_id": node,
        "gpu_id": node * 10 + number % 2 if node and rule == "gpu_hot" else None,
        "site": _SITES[node % 2] if node else None, "rack": None, "labels": {}, "value": None,
        "text": f"wrong {number}", "since": fired - MINUTE, "last_true": fired, "fired_at": fired, "resolved_at": over,
        "held_by": chance.choice([None, None, "", "silence 3", "alert 12"]), "told_at": None,
        "acknowledged_at": acknowledged if acknowledged is None or acknowledged < end else None,
        "acknowledged_by": "ann" if acknowledged else None, "acknowledged_why": None, "version": 1,
    }  # fmt: skip


def _changes(alert: Row) -> list[Row]:
    said = [("fired", alert["fired_at"], ""), ("resolved", alert["resolved_at"], "")]
    said.append(("acknowledged", alert["acknowledged_at"], "ann"))
    return [
        {"alert_id": alert["alert_id"], "at": at, "change": change, "by": by, "text": ""}
        for change, at, by in said
        if at is not None
    ]


def _server(name: str, seen: int, end: int) -> Row:
    facts = {"queued_reports": 7, "waited": 0.5, "failed_commits": 0, "partitions_ahead": 172_800.0}
    return {"server": name, "started_at": end - 2 * DAY, "seen_at": seen, "facts": facts}


def _minutes(server: str, end: int, *spans: tuple[int, int]) -> list[Row]:
    """Minutes counted back from the end, of spans of them."""
    last = end // MINUTE * MINUTE
    return [_minute(server, last - back * MINUTE, back) for low, high in spans for back in range(low + 1, high + 1)]


def _minute(server: str, at: int, back: int) -> Row:
    counts = ("stored", "samples", "values", "states", "events", "usage", "body_bytes")
    few = ("duplicate", "refused_credentials", "refused_content", "turned_away", "failed_commits", "too_late")
    return {
        "server": server, "at": at, "covered": 60_000 - back % 7 * 1000,
        **{name: (place + 1) * 1000 + back % 97 for place, name in enumerate(counts)},
        **{name: back % (place + 3) for place, name in enumerate(few)},
        "commits": 0 if back % 11 == 0 else 50 + back % 20,
        "commit_mean": None if back % 11 == 0 else 0.01 * (back % 9), "commit_max": 0.1 * (back % 13),
        "waited_mean": 0.02 * (back % 5), "queued_reports": back % 31, "queued_bytes": 0, "elected": server == "a",
        "sealing_overdue": back % 3 * HOUR if server == "a" else None, "upkeep": back % 50 * 1.0,
        "upkeep_cpu": back % 20 * 0.5, "cpu": 10.0 + back % 40, "memory": None if back % 17 == 0 else 10**8 + back,
    }  # fmt: skip


def _run(place: int, rule: str, end: int) -> Row:
    return {
        "rule": rule, "ran_at": end - place * MINUTE, "succeeded_at": None if place == 1 else end - place * MINUTE,
        "failures": 3 if place == 1 else 0, "error": "secret", "seconds": 0.1 * place, "found": place,
        "held_back": place // 2, "held_since": None, "fleet": 16, "wait": 60,
    }  # fmt: skip
