"""Events and alerts as boards list them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gpufleet_server.domain.xids import catalogue

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth import alerting, changes
from tests.dashboards.truth.seen import Expected, Seen

_MOST = 200
# Larger ones are told of.
_LARGE_SKEW = 5_000_000


@dataclass(frozen=True)
class Happened:
    """An event of a node, of a GPU where it is of one; `message` is None where the server words it."""

    at: int
    kind: str
    node: SentNode
    gpu: str | None = None
    position: int | None = None
    code: int | None = None
    source: str = "agent"
    message: str | None = None


def every(seen: Seen) -> Iterator[Happened]:
    """All that happened in the range: what agents told, what rosters changed, and a clock that is far off."""
    for node in seen.world.sent.nodes:
        for each in _of_node(node):
            if seen.begin <= each.at < seen.end:
                yield each


def _of_node(node: SentNode) -> Iterator[Happened]:
    for event in node.events:
        place = node.uuids.index(event.gpu) if event.gpu else None
        yield Happened(event.at, event.kind, node, event.gpu, place, event.code, event.source, event.message)
    for change in changes.of_node(node):
        gpu = change.gpu
        yield Happened(change.at, change.kind, node, gpu.uuid if gpu else None, gpu.index if gpu else None)
    if abs(node.node.skew) > _LARGE_SKEW:
        yield Happened(node.reports[0].at, "clock_offset", node)


def events(which: Callable[[Seen, Happened], bool]) -> Callable[[Seen], Expected]:
    """A table of those that are meant."""

    def truth(seen: Seen) -> Expected:
        some = sorted((each for each in every(seen) if which(seen, each)), key=lambda each: -each.at)
        return Expected(listing=[_row(each) for each in some[:_MOST]])

    return truth


def _row(each: Happened) -> dict[str, Any]:
    xid = catalogue().xids.get(each.code) if each.kind == "xid" and each.code is not None else None
    row = {
        "time": each.at, "node": each.node.node.hostname, "position": each.position, "kind": each.kind,
        "model": each.node.node.model.name if each.gpu else "(none)", "code": each.code,
        "xid_class": xid.action.value if xid else None, "severity": xid.severity.value if xid else None,
        "node_uuid": each.node.node.id, "gpu": each.gpu,
    }  # fmt: skip
    if each.message is not None:
        name = [(xid.meaning or xid.mnemonic)] if xid else []
        row |= {"source": each.source, "what": ": ".join([*name, *([each.message] if each.message else [])])}
    return row


def alerts_of(which: Callable[[Seen, dict[str, Any]], bool]) -> Callable[[Seen], Expected]:
    """A table of alerts that fired and were not over before the range."""

    def truth(seen: Seen) -> Expected:
        some = [each for each in alerting.fired(seen.world.owner_url) if which(seen, each) and _in_range(seen, each)]
        listing = [_alert(seen, each) for each in some]
        return Expected(listing=sorted(listing, key=_urgency)[:_MOST])

    return truth


def _in_range(seen: Seen, alert: dict[str, Any]) -> bool:
    over = alert["resolved_at"] is not None and alert["resolved_at"] < seen.begin
    return alert["fired_at"] < seen.end and not over


def _alert(seen: Seen, alert: dict[str, Any]) -> dict[str, Any]:
    names = ("state", "resolved_at", "acknowledged_by", "held_by")
    return alerting.row(seen, alert) | {name: alert[name] for name in names} | {"what": alert["text"]}


def _urgency(row: dict[str, Any]) -> tuple[bool, int, int]:
    return row["state"] != "firing", ("critical", "warning", "info").index(row["severity"]), -row["fired_at"]
