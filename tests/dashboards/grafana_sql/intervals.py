"""Intervals as Grafana rounds, writes and reads them: in the browser (ms) and in its back end (ns)."""

import calendar
import datetime
import decimal
import re
from dataclasses import dataclass

SECOND_NS = 1_000_000_000
# What is below the first number (ms) is rounded to the second.
_ROUNDED = (
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000),
    (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000),
    (210_000, 120_000), (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000),
    (2_700_000, 1_800_000), (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000),
    (32_400_000, 21_600_000), (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
)  # fmt: skip
_YEAR_MS = 31_536_000_000
_UNITS_MS = {
    "y": _YEAR_MS, "M": 2_592_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000,
    "ms": 1,
}  # fmt: skip
_WRITTEN = ("y", "d", "h", "m", "s", "ms")
_GO_UNITS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
}  # fmt: skip
_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


class IntervalError(ValueError):
    """A text that is no interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A panel's interval: `ms`, and as `$__interval` has it."""

    ms: int

    @property
    def text(self) -> str:
        """One unit, the rest cut off: 90 s are `1m`."""
        unit = next((unit for unit in _WRITTEN if self.ms >= _UNITS_MS[unit]), "ms")
        return f"{max(self.ms, 1) // _UNITS_MS[unit]}{unit}"


def rounded(ms: float) -> int:
    """The round interval (ms) that Grafana takes for one."""
    return next((to for below, to in _ROUNDED if ms < below), _YEAR_MS)


def of_range(length_ms: int, points: int, least: str | None = None) -> Interval:
    """A panel's interval over a range, of so many points at most, and not below `least`. IntervalError."""
    return Interval(max(rounded(length_ms / points), in_ms(least) if least else 1))


def in_ms(text: str) -> int:
    """A least interval as people write it, `10s`, in ms; a number alone is of seconds. IntervalError."""
    if re.fullmatch(r"\d+", text) and int(text):
        return int(text) * 1000
    found = re.match(r"(-?\d+)(?:\.\d+)?(ms|[Mwdhmsy])", text)
    if found is None:
        raise IntervalError(f"no interval: {text}")
    return int(found[1]) * _UNITS_MS[found[2]]


def parsed_ns(text: str, now: datetime.datetime) -> int:
    """What a macro is given, in ns: days, weeks, months and years by the calendar from `now` on. IntervalError."""
    found = re.fullmatch(r"(\d+)([dwMy])", text)
    if found is None:
        return _go_duration(text)
    number, unit = int(found[1]), found[2]
    if unit in "dw":
        return number * (1 if unit == "d" else 7) * 86_400 * SECOND_NS
    return (_months_later(now, number * (12 if unit == "y" else 1)) - now) // datetime.timedelta(microseconds=1) * 1000


def _months_later(now: datetime.datetime, months: int) -> datetime.datetime:
    # As in Go: a day that the month has not is counted on from its end.
    year, month = divmod(now.year * 12 + now.month - 1 + months, 12)
    beyond = max(0, now.day - calendar.monthrange(year, month + 1)[1])
    return now.replace(year=year, month=month + 1, day=now.day - beyond) + datetime.timedelta(days=beyond)


def _go_duration(text: str) -> int:
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0
    parts = list(_GO_PART.finditer(rest))
    if not parts or "".join(part[0] for part in parts) != rest:
        raise IntervalError(f"error parsing interval {text}")
    return sign * sum(int(decimal.Decimal(part[1]) * _GO_UNITS[part[2]]) for part in parts)


def go_float(value: float) -> str:
    """A number as Go writes it: the fewest digits, 1036800 as `1.0368e+06` as all from 1e6 on and below 1e-4."""
    sign, figures, _ = (digits := decimal.Decimal(repr(value)).normalize()).as_tuple()
    if not value or -4 <= digits.adjusted() < 6:
        return f"{digits:f}"
    mantissa = ".".join(filter(None, (str(figures[0]), "".join(map(str, figures[1:])))))
    return f"{'-' * sign}{mantissa}e{digits.adjusted():+03}"
