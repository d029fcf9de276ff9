"""The board Energy."""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tests.dashboards.fleet.rows import Rows
from tests.dashboards.fleet.sent import Floats
from tests.dashboards.truth import in_force, roster
from tests.dashboards.truth.fleet import rows_of_last_minute
from tests.dashboards.truth.over_time import Told, of_metric, series, told
from tests.dashboards.truth.seen import Expected, Seen, Truth

Booleans = NDArray[np.bool_]
_USES = ("active", "held", "free", "unknown")
# W·s in a kWh.
_A_KWH = 3_600_000


def _energy(rows: Rows) -> dict[str, Floats]:
    """W·s and the seconds that they are known of, in all and of each use, and the seconds that a counter tells of."""
    power = of_metric("power")(rows)
    counted = of_metric("energy")(rows)["known"]
    found = {"ws": power["total"], "known": power["known"], "counted": counted, "observed": rows.seconds}
    used = rows.use
    for use in _USES:
        found |= {f"{use}_{name}": np.where(used == use, found[name], 0.0) for name in ("ws", "known")}
    return found


def _lines(label: str, value: Callable[[Told], float | None]) -> Truth:
    return lambda seen: Expected(series=series(seen, [label], _energy, value))


def _watts(each: Told) -> float | None:
    return each["ws"] / each.seconds if each["known"] else None


def _watts_of_use(each: Told) -> float | None:
    """There is no interval in which no GPU of the fleet tells its power."""
    return 0.0 if each.sums is None else _watts(each)


def _a_gpu(each: Told) -> float | None:
    return each.share("ws", "known")


def _kwh(each: Told) -> float | None:
    return each["ws"] / _A_KWH if each["known"] else None


def _share_of_owned(each: Told, name: str) -> float | None:
    return min(1.0, each[name] / (each.seconds * each.owned)) if each.owned else None


def _coverage(seen: Seen) -> Expected:
    found = told(seen, [], _energy, owned=True)
    both = {key: [_share_of_owned(each, name) for name in ("known", "counted")] for key, each in found.items()}
    return Expected(series=both)


def _now(seen: Seen) -> Expected:
    rows = rows_of_last_minute(seen)
    columns = of_metric("power")(rows)

    def watts(some: Booleans) -> float | None:
        """0 where there are no such GPUs, None where there are and none of them told it."""
        known = bool(columns["known"][some].any())
        return float(np.nansum(columns["total"][some])) / 60 if known or not some.any() else None

    told = {use: watts(rows.use == use) for use in _USES}
    return Expected(listing=[{"power": watts(rows.use != "")} | told])


def _in_range(seen: Seen) -> Expected:
    (all_,) = told(seen, [], _energy, whole=True).values()
    kwh = {"total": all_["ws"], "held": all_["held_ws"], "free": all_["free_ws"]}
    return Expected(listing=[{name: ws / _A_KWH for name, ws in kwh.items()}])


def _held_by_power(seen: Seen) -> Expected:
    def columns(rows: Rows) -> Mapping[str, Floats]:
        of, active = of_metric("clocks_held_by_power")(rows), rows.use == "active"
        return {name: np.where(active, column, 0.0) for name, column in of.items()}

    return Expected(
        series=series(seen, ["model"], lambda rows: dict(columns(rows)), lambda it: it.share("total", "known"))
    )


def _places(seen: Seen) -> Expected:
    return Expected(
        listing=[
            _place(key[1], key[2], each)
            for key, each in told(seen, ["site", "model"], _energy, whole=True, owned=True).items()
        ]
    )


def _place(site: str, model: str, each: Told) -> Mapping[str, object]:
    there = each.sums is not None
    kwh = {use: each[f"{use}_ws"] / _A_KWH if each["known"] else None for use in ("held", "free")}
    return kwh | {
        "site": site, "model": model, "kwh": _kwh(each), "hours": each["observed"] / 3600 if there else None,
        "coverage": _share_of_owned(each, "known"), "counted": each.share("counted", "known"),
    } | {f"{use}_w": each.share(f"{use}_ws", f"{use}_known") for use in ("active", "held", "free")}  # fmt: skip


def _limits(seen: Seen) -> Expected:
    found: Counter[tuple[str | None, float | None]] = Counter()
    for node, _, gpu in roster.gpus(seen):
        known = [each for each in node.states if each.gpu == gpu.uuid and each.metric == "power_limit"]
        found[gpu.model, in_force.of_states(known)] += 1
    listing = [
        {"model": model, "power_limit": limit, "gpus": count, "together": None if limit is None else limit * count}
        for (model, limit), count in found.items()
    ]
    return Expected(listing=listing)


TRUTHS: dict[str, Truth] = {
    "Power now": _now,
    "Energy in the range": _in_range,
    "Power by site": _lines("site", _watts),
    "Power by model": _lines("model", _watts),
    "Power by use": _lines("use", _watts_of_use),
    "Energy by use": _lines("use", _kwh),
    "Coverage": _coverage,
    "Watts of a GPU, by use": _lines("use", _a_gpu),
    "Watts of a GPU, by model": _lines("model", _a_gpu),
    "Held down by a power limit, while active": _held_by_power,
    "Power limits in force": _limits,
    "Sites and models": _places,
}
