"""What the panels of the board Alerts have to show."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from gpufleet_server.store.alerts import alert_log, alerts
from gpufleet_server.store.schema import gpus, nodes

from tests.dashboards.own.looking import Look, Truth
from tests.dashboards.own.rows import SECOND, Row
from tests.dashboards.so_far import SoFar

_SEVERITIES = ("critical", "warning", "info")
_MOST = 200


def _all(look: Look) -> list[Row]:
    return [each for each in look.made.of(alerts) if look.here(each["site"])]


def _firing(look: Look) -> list[Row]:
    return [each for each in _all(look) if each["state"] == "firing"]


def _fired(look: Look) -> list[Row]:
    return [each for each in _all(look) if look.within(each["fired_at"])]


def _counts(some: Iterable[Row]) -> dict[str, int]:
    found = Counter(each["severity"] for each in some)
    return {severity: found[severity] for severity in _SEVERITIES}


def _seen_to(look: Look) -> list[Row]:
    seen, rest = _split(_firing(look), lambda each: each["acknowledged_at"] is not None)
    held, left = _split(rest, lambda each: bool(each["held_by"]))
    return [{"open": len(left), "acknowledged": len(seen), "held": len(held)}]


def _split(some: Iterable[Row], which: Callable[[Row], bool]) -> tuple[list[Row], list[Row]]:
    found: tuple[list[Row], list[Row]] = ([], [])
    for each in some:
        found[not which(each)].append(each)
    return found


def _groups(some: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for each in some:
        found[tuple(each[name] for name in names)].append(each)
    return found


def _by_site(look: Look) -> list[Row]:
    return [{"site": site or "(none)"} | _counts(some) for (site,), some in _groups(_firing(look), "site").items()]


def _subject(look: Look, alert: Row) -> Row:
    node = next((each for each in look.made.of(nodes) if each["node_id"] == alert["node_id"]), None)
    gpu = next((each for each in look.made.of(gpus) if each["gpu_id"] == alert["gpu_id"]), None)
    return {
        "node": node["hostname"] if node else "(none)", "node_uuid": node["uuid"] if node else None,
        "gpu": gpu["uuid"] if gpu else None, "position": gpu["position"] if gpu else None,
    }  # fmt: skip


def _what_fires(look: Look) -> list[Row]:
    """Ages go on while the statement runs."""
    found = []
    for each in sorted(_firing(look), key=lambda each: (_SEVERITIES.index(each["severity"]), each["fired_at"]))[:_MOST]:
        (age,) = (row["age"] for row in look.rows if row["what"] == each["text"])
        assert abs(age - (look.now - each["fired_at"]) / SECOND) < 60
        names = ("severity", "rule", "acknowledged_by", "held_by", "fired_at")
        found.append({name: each[name] for name in names} | {"what": each["text"]} | _subject(look, each))
    return found


def _over_time(label: str) -> Truth:
    """How many fire at each beginning of an interval."""

    def truth(look: Look) -> list[Row]:
        width = look.interval
        before = [each for each in _all(look) if each["fired_at"] < look.end]
        some = [each for each in before if each["resolved_at"] is None or each["resolved_at"] >= look.begin]
        of_label = {key or "(none)": alike for (key,), alike in _groups(some, label).items()}
        moments = range(-(-look.begin // width) * width, look.end, width)
        return [
            {"time": at, label: name, "alerts": sum(_fires(each, at) for each in alike)}
            for at in moments
            for name, alike in of_label.items()
        ]

    return truth


def _fires(alert: Row, at: int) -> bool:
    return bool(alert["fired_at"] <= at and (alert["resolved_at"] is None or alert["resolved_at"] > at))


def _newly(look: Look) -> list[Row]:
    found = Counter((each["fired_at"] // look.interval * look.interval, each["severity"]) for each in _fired(look))
    return [{"time": at, "severity": severity, "alerts": count} for (at, severity), count in found.items()]


def _took(some: Iterable[Row]) -> list[float]:
    return [(each["resolved_at"] - each["fired_at"]) / SECOND for each in some if each["resolved_at"] is not None]


def _lasted(look: Look, some: Iterable[Row]) -> list[float]:
    """How long they took, or take until now where they still fire."""
    return [((each["resolved_at"] or look.now) - each["fired_at"]) / SECOND for each in some]


def _waited(look: Look, some: Iterable[Row]) -> list[float]:
    """How long until somebody acknowledged them, or until now where they fire and nothing holds them back."""
    seen, rest = _split(some, lambda each: each["acknowledged_at"] is not None)
    waiting = [each for each in rest if each["state"] == "firing" and not each["held_by"]]
    times = [each["acknowledged_at"] - each["fired_at"] for each in seen]
    times += [look.now - each["fired_at"] for each in waiting]
    return [each / SECOND for each in times]


def _so_far(times: list[float], share: float) -> SoFar | None:
    return SoFar(np.quantile(times, share)) if times else None


def _share(some: list[Row], which: Callable[[Row], bool]) -> float | None:
    return sum(map(which, some)) / len(some) if some else None


def _rules(look: Look) -> list[Row]:
    some = [each for each in _all(look) if look.within(each["fired_at"]) or each["state"] == "firing"]
    return [
        {"severity": severity, "rule": rule, "fired": sum(look.within(each["fired_at"]) for each in alike),
         "firing": sum(each["state"] == "firing" for each in alike),
         "nodes": len({each["node_id"] for each in alike if each["node_id"]}),
         "median": _so_far(_lasted(look, alike), 0.5), "longest": _so_far(_lasted(look, alike), 1),
         "acknowledged": _share(alike, lambda each: each["acknowledged_at"] is not None),
         "last": max(each["fired_at"] for each in alike)}
        for (severity, rule), alike in _groups(some, "severity", "rule").items()
    ]  # fmt: skip


def _offenders(look: Look) -> list[Row]:
    some = [each for each in _fired(look) if each["node_id"]]
    return [
        _subject(look, alike[0]) | {
            "fired": len(alike), "firing": sum(each["state"] == "firing" for each in alike),
            "rules": len({each["rule"] for each in alike}), "last": max(each["fired_at"] for each in alike),
        }
        for alike in _groups(some, "node_id", "gpu_id").values()
    ]  # fmt: skip


def _times(look: Look) -> list[Row]:
    some = _fired(look)
    lasted = _lasted(look, some)
    return [{
        "acknowledged": _so_far(_waited(look, some), 0.5), "median": _so_far(lasted, 0.5),
        "ninth": _so_far(lasted, 0.9), "still": sum(each["state"] == "firing" for each in some),
    }]  # fmt: skip


def _shares(look: Look) -> list[Row]:
    some = _fired(look)
    return [{
        "fired": len(some), "resolved": _share(some, lambda each: each["state"] == "resolved"),
        "acknowledged": _share(some, lambda each: each["acknowledged_at"] is not None),
    }]  # fmt: skip


def _held(look: Look) -> list[Row]:
    some = [each for each in _firing(look) if each["held_by"]]
    return [
        {"held_by": by, "alerts": len(alike), "rules": len({each["rule"] for each in alike}),
         "oldest": min(each["fired_at"] for each in alike)}
        for (by,), alike in _groups(some, "held_by").items()
    ]  # fmt: skip


def _resolving(look: Look) -> list[Row]:
    groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for each in _all(look):
        if look.within(each["resolved_at"]):
            groups[each["resolved_at"] // look.interval * look.interval, each["severity"]].append(each)
    return [
        {"time": at, "severity": severity, "took": statistics.median(_took(some))}
        for (at, severity), some in groups.items()
    ]


def _changes(look: Look) -> list[Row]:
    known = {each["alert_id"]: each for each in _all(look)}
    some = [each for each in look.made.of(alert_log) if each["alert_id"] in known and look.within(each["at"])]
    newest = sorted(some, key=lambda each: -each["at"])[:_MOST]
    return [
        {"time": each["at"], "change": each["change"], "who": each["by"], "rule": known[each["alert_id"]]["rule"]}
        | _subject(look, known[each["alert_id"]])
        for each in newest
    ]


TRUTHS: dict[str, Truth] = {
    "Firing": lambda look: [_counts(_firing(look))],
    "Seen to": _seen_to,
    "By site": _by_site,
    "What fires": _what_fires,
    "Firing, by severity": _over_time("severity"),
    "Firing, by site": _over_time("site"),
    "Newly fired": _newly,
    "Rules": _rules,
    "Repeat offenders": _offenders,
    "Times": _times,
    "Of those that fired": _shares,
    "Held back now": _held,
    "Until resolved": _resolving,
    "Changes": _changes,
}
