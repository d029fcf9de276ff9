"""Numbers and times as people read them. An absent value is a dash, never a zero."""

from datetime import UTC, datetime
from typing import Any

ABSENT = "–"
_STEPS = ((86_400, "d"), (3600, "h"), (60, "min"))


def percent(value: float | None) -> str:
    """Such as `97 %`."""
    return ABSENT if value is None else f"{value:.0f} %"


def watts(value: float | None) -> str:
    """Such as `698 W`, `12.3 kW` or `4.10 MW`."""
    if value is None:
        return ABSENT
    if value >= 1e6:
        return f"{value / 1e6:.2f} MW"
    return f"{value / 1e3:.1f} kW" if value >= 10_000 else f"{value:.0f} W"


def energy(value: float | None) -> str:
    """Joules as `0.35 kWh`, `12.3 kWh` or `4.10 MWh`."""
    if value is None:
        return ABSENT
    hours = value / 3.6e6
    if hours >= 1000:
        return f"{hours / 1000:.2f} MWh"
    return f"{hours:.1f} kWh" if hours >= 10 else f"{hours:.2f} kWh"


def celsius(value: float | None) -> str:
    """Such as `64 °C`."""
    return ABSENT if value is None else f"{value:.0f} °C"


def size(value: float | None) -> str:
    """Bytes as `512 MiB`, `79.6 GiB` or `1.25 TiB`."""
    if value is None:
        return ABSENT
    for power, unit, digits in ((4, "TiB", 2), (3, "GiB", 1), (2, "MiB", 0), (1, "KiB", 0)):
        if value >= 1 << (10 * power):
            return f"{value / (1 << (10 * power)):.{digits}f} {unit}"
    return f"{value:.0f} B"


def part(used: float | None, total: float | None) -> str:
    """How much of a memory is used: `61.2 / 79.6 GiB`."""
    if total is None:
        return size(used)
    whole = size(total)
    number, unit = whole.split(" ")
    if used is None:
        return f"{ABSENT} / {whole}"
    power = {"TiB": 4, "GiB": 3, "MiB": 2, "KiB": 1, "B": 0}[unit]
    digits = len(number.partition(".")[2])
    return f"{used / (1 << (10 * power)):.{digits}f} / {whole}"


def number(value: float | None) -> str:
    """With thousands set apart."""
    return ABSENT if value is None else f"{value:,}".replace(",", " ")


def text(value: Any) -> str:
    """Anything as it is, a dash where there is nothing."""
    return ABSENT if value is None or value == "" else str(value)


def words(state: str | None) -> str:
    """`not_reporting` as `not reporting`."""
    return ABSENT if state is None else state.replace("_", " ")


def event(kind: str) -> str:
    """A kind of event in words: `gpu_lost` as `GPU lost`, `xid` as `XID`."""
    short = {"gpu": "GPU", "xid": "XID", "ecc": "ECC", "mig": "MIG"}
    return " ".join(short.get(word, word) for word in kind.split("_"))


def model(name: str | None) -> str:
    """A model without its vendor's name."""
    return text(name).removeprefix("NVIDIA ")


def when(iso: str | None) -> datetime | None:
    """A time of the API."""
    return None if iso is None else datetime.fromisoformat(iso)


def duration(seconds: float) -> str:
    """Such as `12 s`, `5 min`, `3 h` or `8 d`."""
    for length, unit in _STEPS:
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def age(iso: str | None, now: datetime | None = None) -> str:
    """How long ago a time of the API was."""
    then = when(iso)
    if then is None:
        return ABSENT
    return f"{duration(((now or datetime.now(UTC)) - then).total_seconds())} ago"


def local(iso: str | None) -> str:
    """A time of the API in this terminal's time zone, to the second."""
    then = when(iso)
    return ABSENT if then is None else then.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def zone() -> str:
    """The name of this terminal's time zone."""
    return datetime.now().astimezone().strftime("%Z")
