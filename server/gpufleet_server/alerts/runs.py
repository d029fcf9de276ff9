"""How the evaluation of each rule went, for rules over rules and for who looks."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, case, func

from gpufleet_server.alerts.overrides import InForce
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.store.alerts import rule_runs
from gpufleet_server.store.bulk import insert_into

_LONGEST = 1024


@dataclasses.dataclass(slots=True)
class Ran:
    """The evaluation of a rule at a time (µs): of `fleet` subjects it was true of `found`, and of these the breaker
    held some back. `error` is empty where it went well."""

    rule: InForce
    at: int
    seconds: float = 0.0
    found: int = 0
    held_back: int = 0
    fleet: int = 0
    error: str = ""


def write_runs(connection: Connection, ran: Sequence[Ran]) -> None:
    """Keep how they went."""
    new = insert_into(connection, rule_runs)
    failed = new.excluded.failures > 0
    held = new.excluded.held_back > 0
    sets = {name: new.excluded[name] for name in ("ran_at", "error", "seconds", "found", "held_back", "fleet", "wait")}
    sets |= {
        "failures": case((failed, rule_runs.c.failures + 1), else_=0),
        "succeeded_at": func.coalesce(new.excluded.succeeded_at, rule_runs.c.succeeded_at),
        "held_since": case((held, func.coalesce(rule_runs.c.held_since, new.excluded.held_since))),
    }
    if ran:
        statement = new.on_conflict_do_update(index_elements=["rule"], set_=sets)
        connection.execute(statement, [_row(each) for each in sorted(ran, key=lambda each: each.rule.rule.name)])


def _row(ran: Ran) -> dict[str, Any]:
    return {
        "rule": ran.rule.rule.name,
        "ran_at": ran.at,
        "succeeded_at": None if ran.error else ran.at,
        "failures": 1 if ran.error else 0,
        "error": ran.error[:_LONGEST],
        "seconds": ran.seconds,
        "found": ran.found,
        "held_back": ran.held_back,
        "held_since": ran.at if ran.held_back else None,
        "fleet": ran.fleet,
        "wait": ran.rule.manner.wait // SECOND,
    }
