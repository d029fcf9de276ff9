"""What is known of a GPU's metrics now, as columns: from arrays of the fleet, or taken apart in the database."""

from typing import Any

from gpufleet_agent.catalogue import BY_NAME, RESERVED, Cadence, Metric
from sqlalchemy import BigInteger, ColumnElement, Float, FromClause, case, cast, column, func, or_

from gpufleet_server.alerts.identities import NUMBERS
from gpufleet_server.alerts.limits import PREFIX
from gpufleet_server.alerts.predicate import Values
from gpufleet_server.alerts.seen import SINCE
from gpufleet_server.store import latest_states, schema
from gpufleet_server.store.tiers import latest


def columns_of(metric: Metric) -> tuple[str, ...]:
    """The columns of a metric in a row of `Sight.observed`."""
    return (metric.name, metric.name + SINCE) if metric.cadence is Cadence.ON_CHANGE else (metric.name,)


def column_of(name: str) -> Any:
    """A column of one, with its type."""
    if name in NUMBERS:
        return column(name, NUMBERS[name].kind)
    metric = BY_NAME.get(name)
    if name in ("own", "usual"):
        return column(name, Float(53))
    whole = metric is None or metric.step.denominator == 1
    return column(name, BigInteger() if whole and not name.startswith(PREFIX) else Float(53))


def listed(values: Values, which: Any) -> list[Any]:
    """Some values as a list, None where they are not known."""
    data = values.data[which].tolist()
    if values.known is True:
        return data  # type: ignore[no-any-return]
    return [value if known else None for value, known in zip(data, values.known[which].tolist(), strict=True)]


def taken_apart(metric: Metric, sampled: FromClause) -> list[ColumnElement[Any]]:
    """The columns of a metric in SQL, of a row of `gpus` with its node's newest samples and states."""
    if metric.cadence is Cadence.EVERY_SAMPLE:
        return [in_unit(metric, sampled.c[metric.name]).label(metric.name)]
    since = func.nullif(latest_states.since(metric), 0, type_=BigInteger)
    return [in_unit(metric, latest_states.value(metric)).label(metric.name), since.label(metric.name + SINCE)]


def in_unit(metric: Metric, stored: ColumnElement[int]) -> ColumnElement[Any]:
    """Stored integers in the metric's unit, in SQL."""
    up, down = metric.step.numerator, metric.step.denominator
    if down == 1:
        return stored * up if up != 1 else stored
    return cast(stored, Float(53)) * up / down


def told(name: str) -> ColumnElement[bool]:
    """Whether a metric has a value, or none is to be had: for a row of `gpus` with its node's newest samples."""
    metric = BY_NAME[name]
    stored = latest_states.stored(metric) if metric.cadence is Cadence.ON_CHANGE else _packed(metric)
    # The lowest integer of all says that the hardware does not have it, NULL that the agent does not know it.
    return or_(stored.is_(None), stored >= metric.lowest + RESERVED, stored == metric.lowest)


def _packed(metric: Metric) -> ColumnElement[int]:
    unpacked: ColumnElement[int] = getattr(func, f"gpufleet_int{metric.width}")(
        latest.c[metric.name], schema.gpus.c.slot, type_=BigInteger
    )
    return unpacked


def reason(metric: Metric) -> ColumnElement[int]:
    """Why a metric of every sample is absent, a Reason; NULL where it is not."""
    stored = _packed(metric)
    return case((stored < metric.lowest + RESERVED, stored - metric.lowest))
