"""How a value of one of Grafana's units is written: scaled and with its sign, roughly as Grafana does it."""

import datetime
from collections.abc import Callable
from typing import Any

_COUNT = ("", "K", "M", "B", "T")
_SI = ("", "k", "M", "G", "T", "P", "E")
_IEC = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
# Units that are scaled by thousands: what they are, and the sign behind the prefix.
_SCALED = {
    "short": "", "watt": "W", "watth": "Wh", "joule": "J", "hertz": "Hz", "decbytes": "B", "Bps": "B/s",
    "decgbytes": "GB", "bps": "b/s", "reqps": " req/s", "ops": " ops/s", "cps": " c/s", "wps": " wr/s", "rps": " rd/s",
}  # fmt: skip
_BINARY = {"bytes": "B", "binBps": "B/s", "binbps": "b/s", "kbytes": "B"}
_PLAIN = {
    "none": "", "locale": "", "percent": " %", "celsius": " °C", "kwatth": " kWh", "kwatt": " kW", "rotrpm": " rpm",
    "megahertz": " MHz", "mwatt": " mW", "bool": "", "mbytes": " MiB",
}  # fmt: skip
_SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9, "m": 60.0, "h": 3600.0, "d": 86400.0, "dtdurations": 1.0,
            "clocks": 1.0, "dthms": 1.0}  # fmt: skip
_STEPS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def written(value: Any, unit: str | None, decimals: int | None = None) -> str:
    """A value as people read it; a dash where there is none, a text as it is."""
    if value is None:
        return "–"
    if isinstance(value, datetime.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return _number(float(value), unit or "none", decimals)


def _number(value: float, unit: str, decimals: int | None) -> str:
    if unit.startswith(("dateTime", "time:")):
        return f"{datetime.datetime.fromtimestamp(value / 1000, datetime.UTC):%Y-%m-%d %H:%M}"
    if unit.startswith("count:"):
        left, prefix = _scaled(value, 1000.0, _COUNT)
        return f"{_digits(left, decimals)}{prefix} {unit.removeprefix('count:')}"
    if unit.startswith("si:"):
        return _by_prefix(value, unit.removeprefix("si:"), 1000.0, _SI, decimals)
    if unit == "percentunit":
        return f"{_digits(value * 100, decimals)} %"
    if unit in _SECONDS:
        return _duration(value * _SECONDS[unit], decimals)
    if unit in _SCALED:
        return _by_prefix(value, _SCALED[unit], 1000.0, _SI, decimals)
    if unit in _BINARY:
        return _by_prefix(value * (1024 if unit == "kbytes" else 1), _BINARY[unit], 1024.0, _IEC, decimals)
    return f"{_digits(value, decimals)}{_PLAIN.get(unit, f' {unit}')}"


def _by_prefix(value: float, sign: str, base: float, prefixes: tuple[str, ...], decimals: int | None) -> str:
    left, prefix = _scaled(value, base, prefixes)
    return f"{_digits(left, decimals)} {prefix}{sign}".rstrip()


def _scaled(value: float, base: float, prefixes: tuple[str, ...]) -> tuple[float, str]:
    place, left = 0, value
    while abs(left) >= base and place < len(prefixes) - 1:
        place, left = place + 1, left / base
    return left, prefixes[place]


def _duration(seconds: float, decimals: int | None) -> str:
    for length, name in _STEPS:
        if abs(seconds) >= length:
            return f"{_digits(seconds / length, decimals)} {name}"
    return "0 s" if not seconds else f"{seconds:.2g} s"


def _digits(value: float, decimals: int | None) -> str:
    if decimals is None:
        decimals = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{decimals}f}"


def axis(unit: str | None) -> Callable[[float, int], str]:
    """A formatter of ticks for matplotlib."""
    return lambda value, _place: written(round(value, 12), unit)
