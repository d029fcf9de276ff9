"""What the panels of the board gpufleet itself have to show; Coverage needs samples, and is not here."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from gpufleet_server.store.alerts import rule_runs, servers
from gpufleet_server.store.schema import nodes
from gpufleet_server.store.server_minutes import server_minutes

from tests.dashboards.own.looking import Look, Truth
from tests.dashboards.own.rows import HOUR, MINUTE, SECOND, Row

Value = Callable[[list[Row]], float | None]


def _over(values: dict[str, Value], *, servers: bool = True) -> Truth:
    """Values over the whole minutes of each interval, of each server or of all."""

    def truth(look: Look) -> list[Row]:
        # Of long intervals whole hours are told.
        step = HOUR if look.interval >= HOUR else MINUTE
        width = -(-look.interval // step) * step
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for each in look.made.of(server_minutes):
            begin = each["at"] // step * step
            if look.begin <= begin and begin + step <= look.end:
                groups[each["at"] // width * width, *([each["server"]] if servers else [])].append(each)
        found = [
            dict(zip(("time", "server"), key, strict=False)) | {name: value(some) for name, value in values.items()}
            for key, some in groups.items()
        ]
        return [each for each in found if any(each[name] is not None for name in values)]

    return truth


def _known(some: Iterable[Row], column: str) -> list[float]:
    return [each[column] for each in some if each[column] is not None]


def _total(column: str) -> Value:
    return lambda some: sum(_known(some, column))


def _rate(column: str) -> Value:
    return lambda some: sum(_known(some, column)) / (sum(_known(some, "covered")) / 1000)


def _mean(column: str, *counts: str) -> Value:
    """By how many each row is of."""

    def value(some: list[Row]) -> float | None:
        known = [(each[column], sum(each[count] for count in counts)) for each in some if each[column] is not None]
        return sum(mean * count for mean, count in known) / sum(count for _, count in known) if known else None

    return value


def _most(column: str, per: float = 1) -> Value:
    return lambda some: max(known) / per if (known := _known(some, column)) else None


def _here(look: Look) -> list[Row]:
    return [each for each in look.made.of(nodes) if look.here(each["site"])]


def _reports(look: Look, node: Row) -> bool:
    return bool(node["last_seen"] > look.now - HOUR)


def _agents(look: Look) -> list[Row]:
    some = _here(look)
    return [{
        "nodes": len(some), "reporting": sum(_reports(look, each) for each in some),
        "behind": sum(each["backlog_reports"] > 0 for each in some),
        "dropped": sum(each["backlog_dropped"] > 0 for each in some),
        "off": sum(abs(each["clock_measured"]) > SECOND for each in some),
    }]  # fmt: skip


def _servers(look: Look) -> list[Row]:
    found = []
    for each in look.made.of(servers):
        (age,) = (row["seen_age"] for row in look.rows if row["server"] == each["server"])
        assert abs(age - (look.now - each["seen_at"]) / SECOND) < 60
        facts = each["facts"]
        found.append({
            "server": each["server"], "started_ts": each["started_at"], "queued_reports": facts["queued_reports"],
            "waited_mean": facts["waited"], "partitions_ahead": facts["partitions_ahead"], "sealing_overdue": None,
        })  # fmt: skip
    return found


def _backlogs(look: Look) -> list[Row]:
    names = ("backlog_reports", "backlog_bytes", "backlog_dropped", "last_seen", "agent_version")
    return [
        {name: each[name] for name in names} | {"node": each["hostname"], "node_uuid": each["uuid"]}
        for each in _here(look)
        if each["backlog_reports"] or each["backlog_dropped"]
    ]


def _clocks(look: Look) -> list[Row]:
    return [{"node": each["hostname"], "offset": each["clock_measured"] / SECOND} for each in _here(look)]


def _versions(look: Look) -> list[Row]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for each in _here(look):
        groups[each["agent_version"]].append(each)
    return [
        {"agent_version": version, "nodes": len(some), "reporting": sum(_reports(look, each) for each in some),
         "shortest": min(each["interval_ms"] for each in some) / 1000,
         "longest": max(each["interval_ms"] for each in some) / 1000, "last": max(each["last_seen"] for each in some)}
        for version, some in groups.items()
    ]  # fmt: skip


def _rules(look: Look) -> list[Row]:
    return [
        {"rule": each["rule"], "failures": each["failures"], "ran_ts": each["ran_at"],
         "succeeded_ts": each["succeeded_at"], "seconds": each["seconds"], "subjects": each["fleet"],
         "found": each["found"], "held_back": each["held_back"], "wait_seconds": each["wait"]}
        for each in look.made.of(rule_runs)
    ]  # fmt: skip


TRUTHS: dict[str, Truth] = {
    "Servers": _servers,
    "Agents, of the chosen sites": _agents,
    "Reports": _over({"reports": _rate("stored")}),
    "Samples and values": _over({"samples": _rate("samples"), "values": _rate("values")}, servers=False),
    "Traffic": _over({"bytes": _rate("body_bytes")}),
    "Events, states and usage": _over(
        {"events": _rate("events"), "states": _rate("states"), "usage": _rate("usage")}, servers=False
    ),
    "Refused": _over(
        {"credentials": _total("refused_credentials"), "content": _total("refused_content"),
         "turned_away": _total("turned_away")}, servers=False,
    ),
    "Twice, and too late": _over({"twice": _total("duplicate"), "too_late": _total("too_late")}, servers=False),
    "Commits take": _over({"mean": _mean("commit_mean", "commits"), "longest": _most("commit_max")}),
    "Reports wait": _over({"waited": _mean("waited_mean", "stored", "duplicate")}),
    "Queue": _over({"queued": _most("queued_reports")}),
    "Failed commits": _over({"failed": _total("failed_commits")}),
    "CPU": _over({"process": _rate("cpu"), "upkeep": _rate("upkeep_cpu")}),
    "Memory": _over({"memory": _most("memory")}),
    "Sealing behind": _over({"behind": _most("sealing_overdue", SECOND)}, servers=False),
    "Upkeep takes": _over({"share": _rate("upkeep")}),
    "Backlogs": _backlogs,
    "Clocks": _clocks,
    "Versions of agents": _versions,
    "Evaluations": _rules,
}  # fmt: skip
