"""The macros of Grafana's PostgreSQL plugin, as its back end expands them."""

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.dashboards.grafana_sql.comments import stripped
from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.grafana_sql.intervals import SECOND_NS, Interval, IntervalError, go_float, parsed_ns

_CALL = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# What the back end takes where nobody tells it.
UNASKED = Interval(1000)


class MacroError(ValueError):
    """What Grafana refuses to send to the database; says why."""


@dataclass(frozen=True, slots=True)
class Fill:
    """What a macro says of missing points: how far they lie apart (ns), and `null`, `previous` or a number."""

    interval_ns: int
    by: str | float


@dataclass(frozen=True, slots=True)
class Expanded:
    """What goes to the database, and how what comes back is filled."""

    sql: str
    fill: Fill | None


@dataclass(slots=True)
class _Calls:
    """The macros of one query."""

    range: Range
    timescale: bool
    now: datetime.datetime
    fill: Fill | None = None

    def evaluate(self, name: str, given: Sequence[str]) -> str:
        # Splitting an empty text gives one empty argument: a macro never lacks its first.
        macro = _MACROS.get(name)
        if macro is None:
            raise MacroError(f'unknown macro "{name}"')
        return macro(self, given)

    def group(self, given: Sequence[str], name: str) -> int:
        """The interval of a group, ns."""
        if len(given) < 2:
            raise MacroError(f"macro {name} needs time column and interval and optional fill value")
        try:
            interval = parsed_ns(given[1].strip("'"), self.now)
        except IntervalError:
            raise MacroError(f"error parsing interval {given[1]}") from None
        if len(given) == 3:
            self.fill = Fill(interval, _fill_by(given[2]))
        return interval


def expanded(
    sql: str,
    range_: Range,
    interval: Interval = UNASKED,
    *,
    timescale: bool = False,
    now: datetime.datetime | None = None,
) -> Expanded:
    """What the back end sends of a query that the front end gave it. MacroError."""
    sql = stripped(sql)
    sql = sql.replace("$__interval_ms", str(interval.ms)).replace("$__interval", interval.text)
    sql = sql.replace("$__unixEpochFrom()", str(_seconds(range_.begin)))
    sql = sql.replace("$__unixEpochTo()", str(_seconds(range_.end)))
    calls = _Calls(range_, timescale, now or datetime.datetime.now(datetime.UTC))

    def call(found: re.Match[str]) -> str:
        # Only the first place at which the very same text stands is looked at, whichever is meant.
        after = sql.index(found[0]) + len(found[0])
        alias = "Alias" if found[1] == "__timeGroup" and sql[after : after + 1] == "," else ""
        return calls.evaluate(found[1] + alias, [each.strip(" ") for each in found[2].split(",")])

    return Expanded(_CALL.sub(call, sql), calls.fill)


def _fill_by(text: str) -> str | float:
    if text in ("NULL", "previous"):
        return text.lower()
    try:
        return float(text)
    except ValueError:
        raise MacroError(f"error parsing fill value {text}") from None


def _seconds(ms: int) -> int:
    return ms // 1000


def _written(ms: int) -> str:
    """A time as Go's RFC3339Nano has it: no zeros at the end of its fraction."""
    at = _EPOCH + datetime.timedelta(milliseconds=ms)
    fraction = f"{ms % 1000:03}".rstrip("0")
    return f"{at:%Y-%m-%dT%H:%M:%S}{'.' * bool(fraction)}{fraction}Z"


def _time_filter(calls: _Calls, given: Sequence[str]) -> str:
    return f"{given[0]} BETWEEN '{_written(calls.range.begin)}' AND '{_written(calls.range.end)}'"


def _epoch_filter(scale: Callable[[int], int]) -> Callable[[_Calls, Sequence[str]], str]:
    def macro(calls: _Calls, given: Sequence[str]) -> str:
        return f"{given[0]} >= {scale(calls.range.begin)} AND {given[0]} <= {scale(calls.range.end)}"

    return macro


def _nanoseconds(ms: int) -> int:
    return ms * 1_000_000


def _time_group(calls: _Calls, given: Sequence[str]) -> str:
    seconds = calls.group(given, "__timeGroup") / SECOND_NS
    if calls.timescale:
        return f"time_bucket('{seconds:.3f}s',{given[0]})"
    return f"floor(extract(epoch from {given[0]})/{go_float(seconds)})*{go_float(seconds)}"


def _epoch_group(calls: _Calls, given: Sequence[str]) -> str:
    seconds = go_float(calls.group(given, "__unixEpochGroup") / SECOND_NS)
    return f"floor(({given[0]})/{seconds})*{seconds}"


_MACROS: dict[str, Callable[[_Calls, Sequence[str]], str]] = {
    "__time": lambda _, given: f'{given[0]} AS "time"',
    "__timeEpoch": lambda _, given: f'extract(epoch from {given[0]}) as "time"',
    "__timeFilter": _time_filter,
    "__timeFrom": lambda calls, _: f"'{_written(calls.range.begin)}'",
    "__timeTo": lambda calls, _: f"'{_written(calls.range.end)}'",
    "__timeGroup": _time_group,
    "__timeGroupAlias": lambda calls, given: f'{_time_group(calls, given)} AS "time"',
    "__unixEpochFilter": _epoch_filter(_seconds),
    "__unixEpochNanoFilter": _epoch_filter(_nanoseconds),
    "__unixEpochNanoFrom": lambda calls, _: str(_nanoseconds(calls.range.begin)),
    "__unixEpochNanoTo": lambda calls, _: str(_nanoseconds(calls.range.end)),
    "__unixEpochGroup": _epoch_group,
    "__unixEpochGroupAlias": lambda calls, given: f'{_epoch_group(calls, given)} AS "time"',
}
