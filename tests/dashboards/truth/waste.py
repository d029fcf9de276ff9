"""The board Utilisation and waste."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from gpufleet_agent import wire

from tests.dashboards.fleet.rows import Rows
from tests.dashboards.fleet.sent import Floats, SentNode
from tests.dashboards.truth.fleet import in_use
from tests.dashboards.truth.over_time import Told, by_use, of_metric, series, told
from tests.dashboards.truth.seen import Expected, Seen, Truth
from tests.dashboards.truth.use_of import Interval, intervals, name_of, pieces, workload

_MINUTE, _HOUR, _DAY = 60_000_000, 3_600_000_000, 86_400_000_000
_WORK = {"sm": "sm_active", "tensor": "tensor_active"}
NONE = "(none)"


# --- the fleet's samples --------------------------------------------------------------------------------------------


def _funnel_columns(rows: Rows) -> dict[str, Floats]:
    active = rows.use == "active"
    found = by_use(rows)
    for short, metric in _WORK.items():
        of = of_metric(metric)(rows)
        found |= {
            f"{short}_{name}": np.where(active, of[part], 0.0)
            for name, part in (("total", "total"), ("active", "known"))
        }
    return found


def _stages(seen: Seen) -> list[tuple[str, float, float | None]]:
    """Each stage: its name, seconds, and the share of the active time that tells of it."""
    (each,) = told(seen, [], _funnel_columns, whole=True, owned=True).values()
    taken = each["active"] + each["held"]
    return [
        ("Owned", each.seconds * (each.owned or 0), None), ("Observed", each["observed"], None),
        ("Active or held", taken, None), ("Active", each["active"], None),
        ("Multiprocessors active", each["sm_total"] / 100, each.share("sm_active", "active")),
        ("Tensor pipes active", each["tensor_total"] / 100, each.share("tensor_active", "active")),
    ]  # fmt: skip


def _funnel(seen: Seen) -> Expected:
    return Expected(listing=[{"name": name, "hours": seconds / 3600} for name, seconds, _ in _stages(seen)])


def _funnel_table(seen: Seen) -> Expected:
    stages, listing = _stages(seen), []
    for (name, seconds, share), before in zip(stages, [None, *stages], strict=False):
        listing.append({
            "name": name, "hours": seconds / 3600, "told": share,
            "of_owned": seconds / stages[0][1],
            "of_before": None if before is None or not before[1] else seconds / before[1],
        })  # fmt: skip
    return Expected(listing=listing)


def _share(label: str, use: str) -> Truth:
    return lambda seen: Expected(series=series(seen, [label], by_use, lambda each: each.share(use, "observed")))


def _working(metric: str) -> Truth:
    def columns(rows: Rows) -> dict[str, Floats]:
        active = rows.use == "active"
        return {name: np.where(active, column, 0.0) for name, column in of_metric(metric)(rows).items()}

    return lambda seen: Expected(series=series(seen, ["model"], columns, lambda each: each.share("total", "known")))


def coverage(each: Told) -> float | None:
    """Which share of the time of the GPUs that there were is in samples."""
    return min(1.0, each["observed"] / (each.seconds * each.owned)) if each.owned else None


def _places(seen: Seen) -> Expected:
    listing = []
    for (_, site, model), each in told(seen, ["site", "model"], by_use, whole=True, owned=True).items():
        owned = None if each.owned is None else each.seconds * each.owned / 3600
        row: dict[str, Any] = {"site": site, "model": model, "owned": owned, "coverage": coverage(each)}
        row |= {use: each[use] / 3600 for use in ("active", "held", "free", "unknown")}
        listing.append(row | {"share": each.share("held", "observed")})
    return Expected(listing=listing)


# --- who used it ----------------------------------------------------------------------------------------------------


def _step(seen: Seen) -> int:
    return _HOUR if seen.interval < 2 * _HOUR else _DAY


def _parts(seen: Seen, told_of: Callable[[SentNode], Iterable[Interval]] = pieces) -> Iterator[tuple[int, Interval]]:
    """What was told of usage at the chosen places by hour, or day, and how much of its sums falls into the range.

    Of an hour that the range cuts nobody knows where in it a piece lies: it counts in proportion.
    """
    step = _step(seen)
    for node in seen.world.sent.nodes:
        if seen.is_chosen(node.node.site.name, node.node.model.name):
            for piece in told_of(node):
                for at in range(piece.begin // step * step, piece.end, step):
                    if at > seen.begin - step and at < seen.end:
                        # A mean is of all of the hour.
                        yield at, piece.within(at, at + step).scaled(_part(seen, at, step), ("active", "held"))


def _part(seen: Seen, at: int, step: int) -> float:
    """Which part of an hour, or day, as far as it is over, is in the range."""
    until = min(at + step, seen.asked_at)
    return (min(until, seen.end) - max(at, seen.begin)) / (until - at)


def _by(name: Callable[[wire.Holder], str | None]) -> Truth:
    def truth(seen: Seen) -> Expected:
        groups: dict[str, list[Interval]] = defaultdict(list)
        for _, each in _parts(seen):
            groups[_named(each.holder, name)].append(each)
        return Expected(
            listing=[{"name": key} | _of(some) for key, some in groups.items()], relative=1e-4, absolute=1e-3
        )

    return truth


def _named(holder: wire.Holder, name: Callable[[wire.Holder], str | None]) -> str:
    if holder.kind in ("nobody", "unknown"):
        return f"({holder.kind})"
    return name(holder) or NONE


def _of(some: Iterable[Interval]) -> dict[str, float | None]:
    every = list(some)
    active, held = (sum(getattr(each, name) for each in every) / 3600 for name in ("active", "held"))
    known = sum(each.activity_known for each in every)
    total = active + held
    return {
        "total": total, "active": active, "held": held, "share": held / total if total else None,
        "activity": sum(each.activity for each in every) / 100 / known if known else None,
    }  # fmt: skip


def _held_over_time(seen: Seen) -> Expected:
    step = _step(seen)
    width = -(-seen.interval // step) * step
    found: dict[Any, float] = defaultdict(float)
    for at, each in _parts(seen):
        found[at // width * width, each.holder.kind] += each.held / 3600
    return Expected(series={key: [held] for key, held in found.items()}, relative=2e-3, absolute=2e-3)


def _worst(seen: Seen) -> Expected:
    # By hours, or days: of one in which it held nothing nothing is kept.
    hours: dict[Any, list[Interval]] = defaultdict(list)
    for at, each in _parts(seen, intervals):
        hours[workload(each), each.node.node.model.name, each.node.node.site.name, at].append(each)
    groups: dict[Any, list[Interval]] = defaultdict(list)
    for (holder, model, *_), some in hours.items():
        if any(each.held for each in some):
            groups[holder, model] += some
    listing: list[dict[str, Any]] = []
    for (_, model), some in groups.items():
        holder, sums = some[0].holder, _of(some)
        del sums["activity"]
        if sums["held"]:
            listing.append({"holder": name_of(holder), "kind": holder.kind, "model": model} | sums)
    return Expected(listing=listing, relative=2e-3, absolute=2e-3, most=100)


def _whose(seen: Seen) -> Expected:
    (each,) = told(seen, [], by_use, whole=True).values()
    groups: dict[str, list[Interval]] = {"Workloads": [], "(nobody)": [], "(unknown)": []}
    for _, part in _parts(seen):
        groups[_named(part.holder, lambda _: "Workloads")].append(part)
    rows = {name: _of(some) for name, some in groups.items()}
    for row in rows.values():
        del row["activity"], row["total"]
    left = {use: max(0.0, each[use] / 3600 - sum(row[use] or 0 for row in rows.values())) for use in ("active", "held")}
    total = left["active"] + left["held"]
    rows["(not told)"] = {**left, "share": left["held"] / total if total else None}
    return Expected(listing=[{"name": name} | row for name, row in rows.items()], relative=1e-3, absolute=5e-3)


TRUTHS: dict[str, Truth] = {
    "From owned to working": _funnel,
    "The same as shares": _funnel_table,
    "GPUs by what they did": in_use,
    "Coverage by site": lambda seen: Expected(series=series(seen, ["site"], by_use, coverage, owned=True)),
    "Active, by site": _share("site", "active"),
    "Active, by model": _share("model", "active"),
    "Held, by site": _share("site", "held"),
    "Held, by model": _share("model", "held"),
    "Multiprocessors active, while active": _working("sm_active"),
    "Tensor pipes active, while active": _working("tensor_active"),
    "Memory bandwidth used, while active": _working("dram_active"),
    "Sites and models": _places,
    "Whose it was": _whose,
    "Held GPU-hours over time": _held_over_time,
    "Workloads that held most": _worst,
    "By user": _by(lambda holder: holder.user),
    "By account": _by(lambda holder: holder.account),
    "By namespace": _by(lambda holder: holder.namespace),
}
