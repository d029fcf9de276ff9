"""What a rule says of a time, now or past, without touching an alert."""

import dataclasses
from collections.abc import Collection

from sqlalchemy import Connection

from gpufleet_server.alerts.evaluation import asked
from gpufleet_server.alerts.finding import Finding, find
from gpufleet_server.alerts.overrides import InForce
from gpufleet_server.alerts.past import sight_of
from gpufleet_server.alerts.seen import seen_now
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.xids import Table


@dataclasses.dataclass(frozen=True, slots=True)
class Tried:
    """A subject for which a condition held at that time; `fires`: it had, for as long as the rule waits."""

    finding: Finding
    fires: bool


def trial(connection: Connection, rule: InForce, xids: Table, at: int, *, now: bool = False) -> list[Tried]:
    """What a rule as it is in force now would have said at a time (µs), from what is stored; or says `now`.

    Whether it held all the time that the rule waits is looked at when that began, and in the middle.
    """
    found = _found(connection, rule, xids, at, now=now)
    before: list[Collection[str]] = []
    if found and rule.manner.wait:
        waits = max(each.manner.wait for each in found.values())
        before = [_found(connection, rule, xids, at - wait).keys() for wait in (waits // 2, waits)]
    return [
        Tried(each, not each.manner.wait or all(subject in earlier for earlier in before))
        for subject, each in found.items()
    ]


def _found(connection: Connection, rule: InForce, xids: Table, at: int, *, now: bool = False) -> dict[str, Finding]:
    metrics = sorted(asked(rule, connection.dialect.name))
    if now:
        sight = Sight(at, rule.limits, connection.dialect.name, seen=seen_now(connection, at, metrics))
    else:
        sight = sight_of(connection, at, rule.limits, metrics)
    sight.xids = xids
    return find(connection, rule, sight)
