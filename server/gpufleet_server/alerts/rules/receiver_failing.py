"""A receiver does not take alerts: whoever it is to tell is not told.

Nothing is lost: what still fires is told once it takes them again, and what waits in the outbox is tried for a day.
This alert reaches you by the other receivers, and by `gpufleet alerts`.

**What to do.** The alert has what the receiver answered: an address that can't be resolved, a certificate, a password,
a service that is down. `gpufleet alerts receivers test NAME FILE` sends one message.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    server = sight.servers()
    failing, number = (server.c.facts[name].as_float() for name in ("receiver_failing", "receivers_failing"))
    names = (server.c.facts[name].as_string().label(name) for name in ("receiver", "receiver_error"))
    told = sight.about(server, failing / 60, *names, number.label("number"))
    return told.where(server.c.seen <= server.c.limit_seen, failing >= server.c.limit_failing)


RULE = Rule(
    name="receiver_failing",
    severity=Severity.CRITICAL,
    scope=Scope.SERVER,
    condition=_condition,
    text="receiver {receiver} has taken no alert for {value:.0f} min ({number:.0f} fail): {receiver_error}",
    advice="See what it answers; test it with gpufleet alerts receivers test.",
    needs=Needs.NOTHING,
    keep=60,
    thresholds={
        "failing": Threshold(300, "s", "A restart of an Alertmanager takes less."),
        "seen": Threshold(60, "s", "A server tells of itself every 15 s."),
    },
    labels={"category": "gpufleet"},
)
