"""The board Alerts."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.dashboards.so_far import SoFar
from tests.dashboards.truth import alerting
from tests.dashboards.truth.seen import Expected, Seen, Truth

_SEVERITIES = ("critical", "warning", "info")
_MOST = 200
_Alert = dict[str, Any]


def _site(seen: Seen, alert: _Alert) -> str:
    node = alerting.node_of(seen, alert)
    return alert["site"] or (node.node.site.name if node is not None else "(none)")


def _every(seen: Seen) -> list[_Alert]:
    """All that ever fired, of the chosen sites."""
    return [each for each in alerting.fired(seen.world.owner_url) if seen.is_chosen(_site(seen, each))]


def _firing(seen: Seen) -> list[_Alert]:
    return [each for each in _every(seen) if each["state"] == "firing"]


def _fired(seen: Seen) -> list[_Alert]:
    """Those that fired in the range."""
    return [each for each in _every(seen) if seen.begin <= each["fired_at"] < seen.end]


def _took(alert: _Alert) -> float | None:
    return None if alert["resolved_at"] is None else (alert["resolved_at"] - alert["fired_at"]) / 1e6


def _times(some: Iterable[_Alert]) -> list[float]:
    return sorted(took for each in some if (took := _took(each)) is not None)


def _until(seen: Seen, alert: _Alert, what: str) -> float:
    """Until it was `what`, or so far; alerts of this fleet may fire a little ahead of the clock."""
    end: int = alert[what] or seen.asked_at
    began: int = alert["fired_at"]
    return max(0.0, (end - began) / 1e6)


def _lasted(seen: Seen, some: Iterable[_Alert]) -> list[float]:
    return sorted(_until(seen, each, "resolved_at") for each in some)


def _so_far(values: list[float], share: float) -> SoFar | None:
    return SoFar(told) if (told := _quantile(values, share)) is not None else None


def _quantile(values: list[float], share: float) -> float | None:
    """Between the two values next to it, in proportion."""
    if not values:
        return None
    place = share * (len(values) - 1)
    low = int(place)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (place - low)


def _mean(flags: Iterable[bool]) -> float | None:
    every = [float(each) for each in flags]
    return statistics.fmean(every) if every else None


def _by_severity(some: Iterable[_Alert]) -> dict[str, int]:
    found = Counter(each["severity"] for each in some)
    return {severity: found[severity] for severity in _SEVERITIES}


def _attention(seen: Seen) -> Expected:
    some = _firing(seen)
    seen_to = [each for each in some if each["acknowledged_at"] is not None]
    held = [each for each in some if each["held_by"] and each["acknowledged_at"] is None]
    counts = {"acknowledged": len(seen_to), "held": len(held)}
    return Expected(listing=[{"open": len(some) - len(seen_to) - len(held)} | counts])


def _grouped(some: Iterable[_Alert], key: Callable[[_Alert], Any]) -> dict[Any, list[_Alert]]:
    found: dict[Any, list[_Alert]] = defaultdict(list)
    for each in some:
        found[key(each)].append(each)
    return found


def _sites(seen: Seen) -> Expected:
    groups = _grouped(_firing(seen), lambda each: _site(seen, each))
    return Expected(listing=[{"site": site} | _by_severity(some) for site, some in groups.items()])


def _what_fires(seen: Seen) -> Expected:
    def row(each: _Alert) -> dict[str, Any]:
        # How long is told a moment later than it is worked out here.
        return alerting.row(seen, each) | {
            "site": _site(seen, each), "what": each["text"], "acknowledged_by": each["acknowledged_by"],
            "held_by": each["held_by"],
        }  # fmt: skip

    return Expected(listing=[row(each) for each in _firing(seen)])


def _over_time(label: Callable[[Seen, _Alert], str]) -> Truth:
    """How many fired when an interval began."""

    def truth(seen: Seen) -> Expected:
        width = seen.interval
        some = [each for each in _every(seen) if each["fired_at"] < seen.end and not _over(seen, each)]
        groups = _grouped(some, lambda each: label(seen, each))
        moments = range(-(-seen.begin // width) * width, seen.end, width)
        return Expected(
            series={(at, name): [sum(_fires(each, at) for each in of)] for at in moments for name, of in groups.items()}
        )

    return truth


def _over(seen: Seen, alert: _Alert) -> bool:
    return alert["resolved_at"] is not None and alert["resolved_at"] < seen.begin


def _fires(alert: _Alert, at: int) -> bool:
    return bool(alert["fired_at"] <= at and (alert["resolved_at"] is None or alert["resolved_at"] > at))


def _newly(seen: Seen) -> Expected:
    width = seen.interval
    found = Counter((each["fired_at"] // width * width, each["severity"]) for each in _fired(seen))
    return Expected(series={key: [count] for key, count in found.items()})


def _rules(seen: Seen) -> Expected:
    in_range = {each["alert_id"] for each in _fired(seen)}
    some = [each for each in _every(seen) if each["alert_id"] in in_range or each["state"] == "firing"]
    listing = []
    for (severity, rule), of in _grouped(some, lambda each: (each["severity"], each["rule"])).items():
        times = _lasted(seen, of)
        listing.append({
            "severity": severity, "rule": rule, "fired": sum(each["alert_id"] in in_range for each in of),
            "firing": sum(each["state"] == "firing" for each in of),
            "nodes": len({each["node_uuid"] for each in of} - {None}),
            "median": _so_far(times, 0.5), "longest": _so_far(times, 1),
            "acknowledged": _mean(each["acknowledged_at"] is not None for each in of),
            "last": max(each["fired_at"] for each in of),
        })  # fmt: skip
    return Expected(listing=listing)


def _offenders(seen: Seen) -> Expected:
    some = [each for each in _fired(seen) if each["node_uuid"] is not None]
    listing = []
    for of in _grouped(some, lambda each: (each["node_uuid"], each["gpu"])).values():
        row = alerting.row(seen, of[0])
        listing.append({name: row[name] for name in ("node", "position", "node_uuid", "gpu")} | {
            "site": _site(seen, of[0]), "fired": len(of), "firing": sum(each["state"] == "firing" for each in of),
            "rules": len({each["rule"] for each in of}), "last": max(each["fired_at"] for each in of),
        })  # fmt: skip
    return Expected(listing=listing)


def _taken(seen: Seen) -> Expected:
    some = _fired(seen)
    times, firing = _lasted(seen, some), [each for each in some if each["state"] == "firing"]
    wait = [each for each in some if each["acknowledged_at"] is not None]
    wait += [each for each in firing if each["acknowledged_at"] is None and not each["held_by"]]
    waited = sorted(_until(seen, each, "acknowledged_at") for each in wait)
    row = {"acknowledged": _so_far(waited, 0.5), "median": _so_far(times, 0.5), "ninth": _so_far(times, 0.9)}
    return Expected(listing=[row | {"still": len(firing)}])


def _shares(seen: Seen) -> Expected:
    some = _fired(seen)
    resolved = _mean(each["state"] == "resolved" for each in some)
    acknowledged = _mean(each["acknowledged_at"] is not None for each in some)
    return Expected(listing=[{"fired": len(some), "resolved": resolved, "acknowledged": acknowledged}])


def _held_back(seen: Seen) -> Expected:
    groups = _grouped((each for each in _firing(seen) if each["held_by"]), lambda each: each["held_by"])
    listing = [
        {"held_by": by, "alerts": len(some), "rules": len({each["rule"] for each in some}),
         "oldest": min(each["fired_at"] for each in some)}
        for by, some in groups.items()
    ]  # fmt: skip
    return Expected(listing=listing)


def _resolving(seen: Seen) -> Expected:
    width = seen.interval
    some = (
        each for each in _every(seen)
        if each["resolved_at"] is not None and seen.begin <= each["resolved_at"] < seen.end
    )  # fmt: skip
    groups = _grouped(some, lambda each: (each["resolved_at"] // width * width, each["severity"]))
    return Expected(series={key: [_quantile(_times(of), 0.5)] for key, of in groups.items()})


def _changes(seen: Seen) -> Expected:
    known = {each["alert_id"]: each for each in _every(seen)}
    with psycopg.connect(seen.world.owner_url, row_factory=dict_row) as connection:
        log = connection.execute("SELECT * FROM alert_log ORDER BY at DESC, log_id DESC").fetchall()
    some = [each for each in log if each["alert_id"] in known and seen.begin <= each["at"] < seen.end]
    listing = []
    for each in some[:_MOST]:
        row = alerting.row(seen, known[each["alert_id"]])
        del row["fired_at"]
        listing.append(row | {"time": each["at"], "change": each["change"], "who": each["by"], "said": each["text"]})
    return Expected(listing=listing)


TRUTHS: dict[str, Truth] = {
    "Firing": lambda seen: Expected(listing=[_by_severity(_firing(seen))]),
    "Seen to": _attention,
    "By site": _sites,
    "What fires": _what_fires,
    "Firing, by severity": _over_time(lambda _, each: each["severity"]),
    "Firing, by site": _over_time(_site),
    "Newly fired": _newly,
    "Rules": _rules,
    "Repeat offenders": _offenders,
    "Times": _taken,
    "Of those that fired": _shares,
    "Held back now": _held_back,
    "Until resolved": _resolving,
    "Changes": _changes,
}
