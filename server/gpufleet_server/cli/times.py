"""Times as they are typed: how long ago, or when."""

from datetime import datetime

from gpufleet_server.cli.errors import CliError
from gpufleet_server.domain import clock, times


def length(text: str, option: str) -> int:
    """The µs of a length such as `30s`, `10m`, `1h` or `30d`. CliError where it is none."""
    try:
        return times.length(text)
    except ValueError as error:
        raise CliError(f"{option}: {error}", 2) from None


def moment(text: str, option: str, now: int | None = None) -> str:
    """A length ago, ISO 8601 (local time unless it says otherwise) or epoch seconds, as the API takes it."""
    try:
        if text[-1:].isalpha() and text[-1:] not in "Zz":
            return times.iso((clock.now() if now is None else now) - times.length(text))
        return times.iso(times.parse(_with_offset(text)))
    except ValueError:
        known = "ISO 8601 such as 2026-11-21T09:00, seconds since the epoch, or a length ago such as 1h"
        raise CliError(f"{option}: {text!r} is no time: {known}", 2) from None


def iso_or_none(micros: int | None) -> str | None:
    """A time (µs) as the API gives it."""
    return None if micros is None else times.iso(micros)


def _with_offset(text: str) -> str:
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return text
    # Eight digits alone are a date to Python, and seconds since the epoch to everyone who types them here.
    return text if text.isdigit() else then.astimezone().isoformat()
