"""Stored integers as people read them."""

from __future__ import annotations

from datetime import datetime, timezone

from gpufleet_agent.catalogue import Metric, Unit


def human(metric: Metric, stored: int) -> str:
    """A value with its unit, or why it is absent in brackets."""
    reason, value = metric.reason(stored), metric.value(stored)
    if value is None:
        return f"({reason.word if reason else 'absent'})"
    if metric.unit is Unit.BYTE:
        return size(value)
    if metric.unit is Unit.FLAG:
        return "yes" if value else "no"
    if metric.unit is Unit.FLAGS:
        return ", ".join(metric.flag_names(stored)) or "none"
    number = f"{value:.1f}" if isinstance(value, float) else str(value)
    plain = metric.unit in (Unit.COUNT, Unit.LEVEL)
    return number if plain else f"{number} {metric.unit.symbol}"


def size(count: float) -> str:
    """Bytes in the binary unit that suits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def iso(micros: int) -> str:
    """A time in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(micros / 1e6, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
