"""The view `rule_runs`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit

from gpufleet_server.store.alerts import rule_runs
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field, view


def _count(name: str, help: str, column: str) -> Field:
    return Column(name, "integer", help, Unit.COUNT), rule_runs.c[column]


def _fields() -> Iterator[Field]:
    yield fields.text("rule", "The rule.", rule_runs.c.rule)
    yield fields.micros("ran_at", "When it was evaluated last.", rule_runs.c.ran_at)
    yield fields.time("ran_ts", "The same.", rule_runs.c.ran_at)
    yield fields.micros("succeeded_at", "When that last succeeded; NULL: never.", rule_runs.c.succeeded_at)
    yield fields.time("succeeded_ts", "The same.", rule_runs.c.succeeded_at)
    yield _count("failures", "How many times in a row it has failed; the server's log says why.", "failures")
    yield Column("seconds", "double precision", "How long it took.", SECOND), rule_runs.c.seconds
    yield _count("subjects", "How many nodes, GPUs … it looked at.", "fleet")
    yield _count("found", "For how many of these it held.", "found")
    yield _count("held_back", "Of these, held back because it were too many at once.", "held_back")
    yield fields.micros("held_since_at", "Since when it holds some back; NULL: it does not.", rule_runs.c.held_since)
    yield fields.time("held_since_ts", "The same.", rule_runs.c.held_since)
    yield Column("wait_seconds", "integer", "How long it must hold before it fires.", SECOND), rule_runs.c.wait


VIEW = view(
    # Without what went wrong: that may quote what was asked, and with it anything that the store holds.
    "rule_runs",
    "An alert rule that is evaluated: how that went last.",
    _fields(),
    rule_runs,
)
