"""How the evaluation of each rule went last."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from gpufleet_server.store.alerts import rule_runs


@dataclass(frozen=True, slots=True)
class Run:
    """When it ran, and succeeded (µs), how often it failed in a row and why, s it took, and for how many it held.

    `held_back`: of those, how many the circuit breaker keeps.
    """

    ran_at: int
    succeeded_at: int | None
    failures: int
    error: str
    seconds: float
    found: int
    held_back: int


def last_runs(connection: Connection) -> dict[str, Run]:
    """The last run of each rule, by its name."""
    names = ("ran_at", "succeeded_at", "failures", "error", "seconds", "found", "held_back")
    query = select(rule_runs.c.rule, *(rule_runs.c[name] for name in names))
    return {name: Run(*rest) for name, *rest in connection.execute(query)}
