"""The board of gpufleet itself."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth import roster
from tests.dashboards.truth.over_time import by_use, series
from tests.dashboards.truth.seen import Expected, Seen, Truth
from tests.dashboards.truth.waste import coverage

# Here no server runs: reports are given to the ingest, on a clock of the test's own.
_ELSEWHERE = "compared in tests/dashboards/own: over rows of the real writer, and over many that were made up"
_SERVERS = "compared in tests/dashboards/own, over rows that were made up"
_SIZES = "what PostgreSQL says of itself: added up in tests/dashboards/own"


def _agents(seen: Seen) -> Expected:
    nodes = list(roster.nodes(seen))
    off = sum(abs(each.node.skew) > 1_000_000 for each in nodes)
    reporting = sum(roster.state_of(seen, each) == "reporting" for each in nodes)
    return Expected(listing=[{"nodes": len(nodes), "reporting": reporting, "behind": 0, "dropped": 0, "off": off}])


def _clocks(seen: Seen) -> Expected:
    listing = [
        {"node": each.node.hostname, "site": each.node.site.name, "offset": -each.node.skew / 1e6,
         "last_seen": each.last_seen, "node_uuid": each.node.id}
        for each in roster.nodes(seen)
    ]  # fmt: skip
    return Expected(listing=listing)


def _versions(seen: Seen) -> Expected:
    groups: dict[str, list[SentNode]] = defaultdict(list)
    for each in roster.nodes(seen):
        groups[each.roster.host.agent_version].append(each)
    return Expected(listing=[_version(seen, version, nodes) for version, nodes in groups.items()])


def _version(seen: Seen, version: str, nodes: list[SentNode]) -> dict[str, Any]:
    intervals = [each.reports[-1].interval / 1000 for each in nodes]
    return {
        "agent_version": version, "nodes": len(nodes), "shortest": min(intervals), "longest": max(intervals),
        "reporting": sum(roster.state_of(seen, each) == "reporting" for each in nodes),
        "last": max(each.last_seen for each in nodes),
    }  # fmt: skip


def _rules(seen: Seen) -> Expected:
    with psycopg.connect(seen.world.owner_url, row_factory=dict_row) as connection:
        runs = connection.execute("SELECT * FROM rule_runs").fetchall()
    listing = [
        {"rule": each["rule"], "failures": each["failures"], "ran_ts": each["ran_at"], "subjects": each["fleet"],
         "succeeded_ts": each["succeeded_at"], "seconds": each["seconds"], "found": each["found"],
         "held_back": each["held_back"], "held_since_ts": each["held_since"], "wait_seconds": each["wait"]}
        for each in runs
    ]  # fmt: skip
    return Expected(listing=listing)


TRUTHS: dict[str, Truth] = {
    "Agents, of the chosen sites": _agents,
    "Coverage": lambda seen: Expected(series=series(seen, ["site"], by_use, coverage, owned=True)),
    "Backlogs": lambda _: Expected(listing=[]),
    "Clocks": _clocks,
    "Versions of agents": _versions,
    "Evaluations": _rules,
}
# Of these only columns and types are checked, and why.
NOT_COMPARED: Mapping[str, str] = dict.fromkeys(
    (
        "Reports", "Samples and values", "Traffic", "Events, states and usage", "Refused",
        "Twice, and too late", "Commits take", "Reports wait", "Queue", "Failed commits", "CPU", "Memory",
        "Sealing behind", "Upkeep takes",
    ), _ELSEWHERE,
) | {"Servers": _SERVERS} | dict.fromkeys(("Database", "Largest tables", "Tables"), _SIZES)  # fmt: skip
