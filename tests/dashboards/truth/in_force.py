"""Metrics that are sent when they change: the last value until a moment holds."""

from collections.abc import Iterator, Sequence

from gpufleet_agent.catalogue import BY_NAME, ON_CHANGE, RESERVED, Metric, Unit
from gpufleet_agent.wire import State

from tests.dashboards.truth.facts import the_node
from tests.dashboards.truth.seen import Expected, Seen, plain


def told(seen: Seen, metric: str) -> list[State]:
    """What was told of a metric of the chosen GPU, in the order of time."""
    (gpu,) = seen.values("gpu")
    return [each for each in the_node(seen).states if each.gpu == gpu and each.metric == metric]


def over_time(seen: Seen) -> Expected:
    """What was in force at the beginning of each interval, while there was anything to tell."""
    names = [name for name in seen.asked.returns if name != "time"]
    last = max(plain(row[0]) for row in seen.asked.rows)
    series = {(at,): list(_values(seen, names, at)) for at in range(seen.begin, last + 1, seen.interval)}
    return Expected(series=series)


def _values(seen: Seen, names: Sequence[str], at: int) -> Iterator[float | None]:
    for name in names:
        known = [each for each in told(seen, name) if each.at <= at]
        yield value(BY_NAME[name], known[-1].stored) if known else None


def value(metric: Metric, stored: int) -> float | None:
    """A state in its unit, or how many flags are set; None where it is absent."""
    if stored < metric.lowest + RESERVED:
        return None
    if metric.unit is Unit.FLAGS:
        return float(stored.bit_count())
    return stored * metric.step.numerator / metric.step.denominator


def of_states(known: Sequence[State]) -> float | None:
    """The last of some states of one metric, in its unit; None where it is absent or was never told."""
    return value(BY_NAME[known[-1].metric], known[-1].stored) if known else None


def now(seen: Seen) -> Expected:
    """What is in force of each at the end, since when, or why there is nothing."""
    listing = []
    for metric in ON_CHANGE:
        known = [each for each in told(seen, metric.name) if each.at < seen.end]
        if known:
            stored, since = known[-1].stored, known[-1].at
            absent = metric.reason(stored)
            there = None if absent is not None else stored * metric.step.numerator / metric.step.denominator
            listing.append({
                "metric": metric.name, "unit": metric.unit.symbol, "since": since, "value": there,
                "reason": absent.word if absent is not None else None,
            })  # fmt: skip
    return Expected(listing=listing)
