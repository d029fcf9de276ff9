"""Numbers and times as people read them."""

from datetime import UTC, datetime

import pytest
from gpufleet_server.cli import units
from hypothesis import given
from hypothesis import strategies as st

GIB = 1 << 30


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (units.percent(0), "0 %"),
        (units.percent(99.6), "100 %"),
        (units.watts(698.4), "698 W"),
        (units.watts(12_345), "12.3 kW"),
        (units.watts(4_100_000), "4.10 MW"),
        (units.celsius(-3), "-3 °C"),
        (units.size(0), "0 B"),
        (units.size(512 << 20), "512 MiB"),
        (units.size(79.6 * GIB), "79.6 GiB"),
        (units.size(1.25 * 1024 * GIB), "1.25 TiB"),
        (units.part(61.2 * GIB, 79.6 * GIB), "61.2 / 79.6 GiB"),
        (units.part(None, 79.6 * GIB), "– / 79.6 GiB"),
        (units.part(3 * GIB, None), "3.0 GiB"),
        (units.number(1234567), "1 234 567"),
        (units.words("not_reporting"), "not reporting"),
        (units.model("NVIDIA H200"), "H200"),
    ],
)
def test_values(told: str, expected: str) -> None:
    """Units stand behind the number, and digits are as many as help."""
    assert told == expected


@pytest.mark.parametrize("show", [units.percent, units.watts, units.celsius, units.size, units.number, units.text])
def test_an_absent_value_is_a_dash(show: object) -> None:
    """None is never shown as 0."""
    assert callable(show)
    assert show(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0 s"), (3, "3 s"), (59, "59 s"), (75, "1 min"), (3600, "60 min"), (7200, "2 h"), (200_000, "2 d")],
)
def test_durations(seconds: float, expected: str) -> None:
    """One unit, the largest of which there are two."""
    assert units.duration(seconds) == expected


@given(st.floats(0, 1e15))
def test_a_size_is_readable(value: float) -> None:
    """Whatever the size, number and unit are short."""
    assert len(units.size(value)) <= 12


def test_age() -> None:
    """How long before now a time of the API was."""
    now = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    assert units.age("2026-03-01T12:00:00.000000Z", now) == "5 s ago"
    assert units.age(None, now) == "–"
