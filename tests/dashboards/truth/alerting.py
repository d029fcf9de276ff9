"""Alerts as the engine keeps them: read from its own tables by their owner, joined and counted here."""

import functools
from collections import Counter
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth.seen import Expected, Seen
from tests.dashboards.truth.standing import gpu_states


@functools.cache
def fired(owner_url: str) -> list[dict[str, Any]]:
    """Every alert that fired, with `node_uuid` and `gpu` (a UUID)."""
    query = """SELECT a.*, n.uuid AS node_uuid, g.uuid AS gpu FROM alerts a
LEFT JOIN nodes n ON n.node_id = a.node_id LEFT JOIN gpus g ON g.gpu_id = a.gpu_id WHERE fired_at IS NOT NULL"""
    with psycopg.connect(owner_url, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def firing(seen: Seen) -> list[dict[str, Any]]:
    """Those that fire."""
    return [each for each in fired(seen.world.owner_url) if each["state"] == "firing"]


def node_of(seen: Seen, alert: dict[str, Any]) -> SentNode | None:
    """The node that an alert is about."""
    return next((each for each in seen.world.sent.nodes if each.node.id == alert["node_uuid"]), None)


def position(node: SentNode | None, alert: dict[str, Any]) -> int | None:
    """The place of an alert's GPU in its node."""
    return node.uuids.index(alert["gpu"]) if node is not None and alert["gpu"] else None


def ailing(seen: Seen) -> dict[tuple[str, str], int]:
    """GPUs that report and have a critical alert that fires, or whose node has one that is of no GPU."""
    critical = [each for each in firing(seen) if each["severity"] == "critical"]
    found: Counter[tuple[str, str]] = Counter()
    for node in seen.world.sent.nodes:
        of_node = [each for each in critical if each["node_uuid"] == node.node.id]
        whole, single = any(not each["gpu"] for each in of_node), {each["gpu"] for each in of_node}
        place = node.node.site.name, node.node.model.name
        states = zip(node.uuids, gpu_states(node, seen.world.end), strict=False)
        reporting = [uuid for uuid, state in states if state == "reporting"]
        if seen.is_chosen(*place):
            found[place] += sum(whole or uuid in single for uuid in reporting)
    return {place: count for place, count in found.items() if count}


def of_chosen(seen: Seen, alert: dict[str, Any]) -> bool:
    """Whether an alert's site is chosen, and its GPU's model where it is of one."""
    node = node_of(seen, alert)
    site = alert["site"] or (node.node.site.name if node is not None else "(none)")
    model = node.node.model.name if node is not None and alert["gpu"] else None
    return seen.is_chosen(site, model)


def row(seen: Seen, alert: dict[str, Any]) -> dict[str, Any]:
    """What a table says of one."""
    node = node_of(seen, alert)
    return {
        "severity": alert["severity"], "rule": alert["rule"], "fired_at": alert["fired_at"],
        "node": node.node.hostname if node is not None else "(none)", "position": position(node, alert),
        "node_uuid": alert["node_uuid"], "gpu": alert["gpu"],
    }  # fmt: skip


def open_now(seen: Seen) -> Expected:
    """Alerts that fire, of what is chosen."""
    some = [each for each in firing(seen) if of_chosen(seen, each)]
    return Expected(listing=[row(seen, each) | {"text": each["text"]} for each in some])
