"""What Grafana makes of a result: fields with types, times, and series where time series were asked for."""

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.grafana_sql.macros import Fill

# PostgreSQL's types by number, and what a field of each is; all that is not known is text.
_TYPES = {
    16: "boolean", 17: "string", 20: "number", 21: "number", 23: "number", 700: "number", 701: "number",
    1700: "number", 1082: "time", 1114: "time", 1184: "time", 114: "json", 3802: "json",
}  # fmt: skip
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class FrameError(ValueError):
    """What Grafana can't show; says why, as it does."""


@dataclass(frozen=True)
class Field:
    """A column: its name, `kind` (number, string, boolean, time or json), values, and the labels of a series.

    A time is in µs since the epoch.
    """

    name: str
    kind: str
    values: list[Any]
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """The columns of a result, as a panel gets them. One without rows has no columns either."""

    fields: list[Field]

    def __len__(self) -> int:
        return len(self.fields[0].values) if self.fields else 0

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The rows."""
        return list(zip(*(each.values for each in self.fields), strict=True))

    def named(self, name: str, **labels: str) -> Field:
        """The one field of this name and labels."""
        (found,) = (each for each in self.fields if each.name == name and labels.items() <= each.labels.items())
        return found


def framed(
    columns: Sequence[tuple[str, int]], rows: Sequence[Sequence[Any]], form: str, range_: Range, fill: Fill | None
) -> Frame:
    """A result as a frame: its columns' names and type numbers, its rows; `form` is `table` or `time_series`.

    FrameError where Grafana shows an error.
    """
    if not rows:
        return Frame([])
    timed = {"time"} | ({"timeend"} if form == "table" else set())
    fields = [_field(name, number, [row[place] for row in rows]) for place, (name, number) in enumerate(columns)]
    fields = [_time(each) if _is_time(each.name, timed) else each for each in fields]
    if form == "table":
        return Frame(fields)
    series = _wide(_series(fields))
    return series if fill is None else filled(series, range_, fill)


def _is_time(name: str, timed: Iterable[str]) -> bool:
    return name in timed or (name.lower() == "timeend" and "timeend" in timed)


def _field(name: str, number: int, values: Iterable[Any]) -> Field:
    kind = _TYPES.get(number, "string")
    return Field(name, kind, [None if value is None else _read(kind, value) for value in values])


def _read(kind: str, value: Any) -> Any:
    if kind == "number":
        return _number(value)
    if kind == "time":
        return _micros(value)
    return _text(value) if kind == "string" else value


def _number(value: Any) -> int | float:
    return value if isinstance(value, int) else float(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _micros(value: Any) -> int:
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time(), datetime.UTC)
    aware: datetime.datetime = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
    return (aware - _EPOCH) // datetime.timedelta(microseconds=1)


def _time(given: Field) -> Field:
    """A column of times: numbers are s, ns or ms, by their size."""
    if given.kind == "time":
        return given
    if given.kind not in ("number", "boolean"):
        raise FrameError("unable to convert data to a time field")
    return replace(given, kind="time", values=[None if v is None else _of_number(float(v)) for v in given.values])


def _of_number(value: float) -> int:
    exponent = math.floor(math.log10(abs(value))) if value else 0
    ms = value * 1e3 if exponent == 9 else value / 1e6 if exponent == 18 else value
    return int(ms) * 1000


def _series(fields: list[Field]) -> list[Field]:
    """The columns of time series: the time, texts, and all else as numbers."""
    if not any(each.name == "time" for each in fields):
        raise FrameError("db has no time column")
    return [replace(each, name="Time") if each.name == "time" else _valued(each) for each in fields]


def _valued(given: Field) -> Field:
    if given.kind in ("string", "number"):
        values = [v if v is None or given.kind == "string" else float(v) for v in given.values]
        return replace(given, values=values)
    if given.kind == "json":
        raise FrameError("convert value to float failed")
    scale = 1000 if given.kind == "time" else 1
    return replace(given, kind="number", values=[None if v is None else float(v // scale) for v in given.values])


def _wide(fields: list[Field]) -> Frame:
    """Series side by side: each set of texts is a series of its own, with the texts as labels."""
    texts = [each for each in fields if each.kind == "string"]
    values = [each for each in fields if each.kind == "number"]
    if not texts or not values:
        return Frame(fields)
    (time,) = (each for each in fields if each.kind == "time")
    times, places = _places(time.values)
    series: dict[tuple[str, ...], list[list[float | None]]] = {}
    for row, place in enumerate(places):
        key = tuple("" if each.values[row] is None else each.values[row] for each in texts)
        of_key = series.setdefault(key, [[None] * len(times) for _ in values])
        for column, value in zip(of_key, values, strict=True):
            column[place] = value.values[row]
    labelled = [
        Field(value.name, "number", column, dict(zip((each.name for each in texts), key, strict=True)))
        for key, of_key in sorted(series.items())
        for value, column in zip(values, of_key, strict=True)
    ]
    return Frame([Field("Time", "time", times), *(_short(each, len(fields)) for each in labelled)])


def _short(series: Field, columns: int) -> Field:
    """Of three columns one named `metric` gives a series its name."""
    if columns == 3 and list(series.labels) == ["metric"]:
        return replace(series, name=series.labels["metric"], labels={})
    return series


def _places(values: Sequence[int | None]) -> tuple[list[int], list[int]]:
    """The times, each once, and which of them each row is of."""
    times: list[int] = []
    places = []
    for value in values:
        if value is None:
            raise FrameError("can not convert to wide series, input has null time values")
        if times and value < times[-1]:
            raise FrameError("long series must be sorted ascending by time to be converted")
        if not times or value > times[-1]:
            times.append(value)
        places.append(len(times) - 1)
    return times, places


def filled(frame: Frame, range_: Range, fill: Fill) -> Frame:
    """The frame at each step of the range: the last values since the step before, else what `fill` says. FrameError."""
    step = fill.interval_ns // 1000
    seconds = fill.interval_ns // 1_000_000_000
    if not seconds:
        raise FrameError("an interval below a second divides by zero")
    begin = range_.begin // 1000 // seconds * seconds * 1_000_000
    times = list(range(begin, range_.end * 1000 + 1, step))
    (time,) = (each for each in frame.fields if each.kind == "time")
    rows = _rows_at(time.values, times, step)
    fields = [
        replace(each, values=times if each is time else [_at(each, rows, n, fill) for n in range(len(times))])
        for each in frame.fields
    ]
    return Frame(fields)


def _rows_at(known: Sequence[int | None], times: Sequence[int], step: int) -> list[tuple[int | None, int]]:
    """For each time: the newest row since the step before, None where there is none; and the newest row of all."""
    if None in known:
        raise FrameError("time point is nil")
    rows: list[tuple[int | None, int]] = []
    last = -1
    for at in times:
        before = last
        while last + 1 < len(known) and known[last + 1] <= at:  # type: ignore[operator]
            last += 1
        is_new = last > before and known[last] > at - step  # type: ignore[operator]
        rows.append((last if is_new else None, last))
    return rows


def _at(given: Field, rows: Sequence[tuple[int | None, int]], number: int, fill: Fill) -> Any:
    newest, last = rows[number]
    if newest is not None:
        return given.values[newest]
    if given.kind == "string" or fill.by == "previous":
        return given.values[last] if last >= 0 else None
    return None if fill.by == "null" else fill.by
