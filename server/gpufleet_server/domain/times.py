"""Times and lengths of time as people write them. Inside, a time is µs since the epoch, UTC."""

import datetime
import re
from decimal import Decimal, InvalidOperation

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
EARLIEST = (datetime.datetime.min.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
LATEST = (datetime.datetime.max.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_LENGTH = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d|w)?", re.ASCII)
_LENGTH_UNITS = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6, "w": 604_800 * 10**6}


def parse(text: str) -> int:
    """The time in ISO 8601 with an offset or `Z`, or in seconds since the epoch. ValueError says what is wrong."""
    text = text.strip()
    micros = _from_epoch(text) if _NUMBER.fullmatch(text) else _from_iso(text)
    if not EARLIEST <= micros <= LATEST:
        raise ValueError(f"{_shown(text)} is not in the years 1 to 9999")
    return micros


def iso(micros: int) -> str:
    """The time in ISO 8601, UTC, such as `2026-11-21T09:00:00.000000Z`; out of the years 1 to 9999, the nearest in."""
    moment = _EPOCH + datetime.timedelta(microseconds=min(max(micros, EARLIEST), LATEST))
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def length(text: str) -> int:
    """The µs in a length of time: seconds (`90`), or a number and ms, s, m, h, d or w (`5m`). ValueError if neither."""
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_shown(text)} is no length of time such as 90, 30s, 5m, 1h or 1d")
    return int(Decimal(match[1]) * _LENGTH_UNITS[match[2] or "s"])


def _from_epoch(text: str) -> int:
    try:
        # Decimal keeps every µs, which a float of today's seconds just about does not.
        return int((Decimal(text) * 10**6).to_integral_value())
    except InvalidOperation:
        raise ValueError(f"{_shown(text)} is not in the years 1 to 9999") from None


def _from_iso(text: str) -> int:
    # A `+` that was not escaped in a URL arrives as a space.
    mended = re.sub(r"(?<=[Tt])(.*) (\d\d:?\d\d)$", r"\1+\2", text)
    try:
        moment = datetime.datetime.fromisoformat(mended)
    except ValueError:
        raise ValueError(
            f"{_shown(text)} is no time: ISO 8601 such as 2026-11-21T09:00:00Z, or seconds since the epoch"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"{_shown(text)} has no offset from UTC: end it with Z or with one such as +01:00")
    return (moment - _EPOCH) // _MICROSECOND


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
