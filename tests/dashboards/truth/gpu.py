"""The board GPU."""

import re
from collections.abc import Sequence

from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, ON_CHANGE, Unit, Use
from gpufleet_dashboards.discovery import every_board

from tests.dashboards.truth import facts, happened, in_force, single, use_of
from tests.dashboards.truth.seen import Expected, Seen, Truth
from tests.dashboards.truth.single import Part

_FLAGS = {each.name.replace("_", " ").capitalize(): each for each in EVERY_SAMPLE if each.unit is Unit.FLAGS}
_CHANGING = {each.name for each in ON_CHANGE}


def _metrics(seen: Seen) -> Expected:
    """The metrics that are columns."""
    names = [name for name in seen.asked.returns if name != "time"]

    def values(part: Part) -> Sequence[float | None]:
        return [single.rolled(name, part.values(name), part.seconds) for name in names]

    return Expected(series=single.of_one(seen, values), absolute=single.lost(names))


def _flags(seen: Seen) -> Expected:
    """Whether a flag was set in any sample of an interval."""
    metric = _FLAGS[seen.asked.name]
    bits = [bit for bit, _ in metric.flags]
    words = [re.sub(r"\W+", "_", word) for _, word in metric.flags]
    assert words == [name for name in seen.asked.returns if name != "time"]

    def values(part: Part) -> Sequence[float | None]:
        flags = single.rolled(metric.name, part.values(metric.name), part.seconds)
        return [None if flags is None else float(bool(int(flags) & bit)) for bit in bits]

    return Expected(series=single.of_one(seen, values))


def _uses(seen: Seen) -> Expected:
    def values(part: Part) -> Sequence[float | None]:
        uses, seconds = part.uses(), float(part.seconds.sum())
        return [float(uses[use].sum()) / seconds for use in Use]

    return Expected(series=single.of_one(seen, values))


def _coverage(seen: Seen) -> Expected:
    return Expected(series=single.coverage(seen, [single.chosen(seen)], 1))


def _truth(title: str, columns: Sequence[str]) -> Truth | None:
    """What is made of the catalogue is checked by the catalogue: a panel of metrics has these for columns."""
    if title in _FLAGS:
        return _flags
    if not columns or not set(columns) <= set(BY_NAME):
        return None
    return in_force.over_time if set(columns) <= _CHANGING else _metrics


def _of_catalogue() -> dict[str, Truth]:
    found = {}
    for panel in every_board()["gpu"].panels:
        columns = [name for name in panel.query.returns if name != "time"] if panel.query is not None else []
        if panel.title != "Now" and (truth := _truth(panel.title, columns)) is not None:
            found[panel.title] = truth
    return found


TRUTHS: dict[str, Truth] = _of_catalogue() | {
    "Now": facts.newest,
    "Identity": facts.of_gpu,
    "In force": in_force.now,
    "Use": _uses,
    "Coverage": _coverage,
    "Held by": use_of.bands_of_gpu,
    "Workloads": use_of.workloads_of_gpu,
    "Events": happened.events(lambda seen, each: _is(seen, each.node.node.id, each.gpu)),
    "Alerts": happened.alerts_of(lambda seen, each: _is(seen, each["node_uuid"], each["gpu"])),
}


def _is(seen: Seen, node: str | None, gpu: str | None) -> bool:
    return node in seen.values("node") and gpu in seen.values("gpu")
