"""The board Fleet."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from tests.dashboards.fleet.rows import Rows, sums
from tests.dashboards.truth import alerting, roster
from tests.dashboards.truth.over_time import Told, observed, of_metric, series, step_of, width_of
from tests.dashboards.truth.over_time import by_use as uses_of
from tests.dashboards.truth.seen import Expected, Seen, Truth
from tests.dashboards.truth.standing import at_end, counts

_MINUTE = 60_000_000
Place = tuple[str, str]


def _one(name: str, value: Callable[[Seen], float | None]) -> Truth:
    return lambda seen: Expected(listing=[{name: value(seen)}])


def _owned(seen: Seen) -> int:
    return sum(at_end(seen).values())


def _reporting(seen: Seen) -> int:
    return sum(count for (*_, state), count in at_end(seen).items() if state == "reporting")


def rows_of_last_minute(seen: Seen) -> Rows:
    """Samples of the last whole minute that all have told of."""
    until = (seen.end - 30_000_000) // _MINUTE * _MINUTE
    return seen.rows[(seen.rows.at > until - _MINUTE) & (seen.rows.at <= until)]


def last_minute(seen: Seen) -> dict[Place, dict[str, float]]:
    """By site and model: GPU-seconds by use, and watt-seconds, of that minute."""
    rows = rows_of_last_minute(seen)
    columns = uses_of(rows) | of_metric("power")(rows)
    keys = [rows.named("site"), rows.named("model")]
    return {(key[0], key[1]): dict(zip(columns, each, strict=True)) for key, each in sums(keys, *columns.values())}


def _in_use(name: str) -> Callable[[Seen], float | None]:
    return lambda seen: sum(each[name] for each in last_minute(seen).values()) / 60


def _by_place(seen: Seen) -> Expected:
    owned: dict[Place, int] = defaultdict(int)
    reporting: dict[Place, int] = defaultdict(int)
    for (site, model, state), count in at_end(seen).items():
        owned[site, model] += count
        reporting[site, model] += count * (state == "reporting")
    used, ailing = last_minute(seen), alerting.ailing(seen)
    listing = [
        {"site": place[0], "model": place[1], "owned": count, "reporting": reporting[place],
         "healthy": reporting[place] - ailing.get(place, 0)} | _used(used.get(place))
        for place, count in owned.items()
    ]  # fmt: skip
    return Expected(listing=listing)


def _used(sums_: Mapping[str, float] | None) -> dict[str, float | None]:
    used = {name: None if sums_ is None else sums_[name] / 60 for name in ("active", "held")}
    return used | {"power": None if sums_ is None or not sums_["known"] else sums_["total"] / 60}


def _counted(place: int) -> Truth:
    """How many GPUs there were of each site (place 0), model (1) or state (2): the mean of an interval."""

    def truth(seen: Seen) -> Expected:
        width, found = width_of(seen.interval), counts(seen, step_of(seen.interval))
        total: dict[Any, float] = defaultdict(float)
        times: dict[int, int] = defaultdict(int)
        for at, of_groups in found.items():
            times[at // width * width] += 1
            for group, count in of_groups.items():
                total[at // width * width, group[place]] += count
        names = {group[place] for of_groups in found.values() for group in of_groups}
        return Expected(series={(at, name): [total[at, name] / times[at]] for at in times for name in names})

    return truth


by_state, owned_by_model = _counted(2), _counted(1)


def in_use(seen: Seen) -> Expected:
    """How many GPUs an interval observed in each use: 0 where it observed others alone."""
    return Expected(series=series(seen, ["use"], observed, lambda each: each["observed"] / each.seconds))


def _active(each: Told) -> float | None:
    share = each.share("active", "observed")
    return None if share is None else 100 * share


def _watts(each: Told) -> float | None:
    return each["total"] / each.seconds if each["known"] else None


TRUTHS: dict[str, Truth] = {
    "Owned": _one("gpus", _owned),
    "Reporting": _one("gpus", _reporting),
    "Healthy now": _one("gpus", lambda seen: _reporting(seen) - sum(alerting.ailing(seen).values())),
    "Active": _one("gpus", _in_use("active")),
    "Held idle": _one("gpus", _in_use("held")),
    "Power": _one("power", lambda seen: sum(each["total"] for each in last_minute(seen).values()) / 60),
    "Sites and models": _by_place,
    "GPUs by state": by_state,
    "GPUs by use": in_use,
    "Active, by site": lambda seen: Expected(series=series(seen, ["site"], uses_of, _active)),
    "Power, by site": lambda seen: Expected(series=series(seen, ["site"], of_metric("power"), _watts)),
    "Owned, by model": owned_by_model,
    "Open alerts": alerting.open_now,
    "GPUs that are gone from the bus, or whose driver fails": roster.broken,
    "Silent nodes": roster.silent,
}
