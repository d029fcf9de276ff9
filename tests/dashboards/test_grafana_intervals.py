"""Intervals are rounded, written and read as Grafana does."""

import datetime

import pytest

from tests.dashboards.grafana_sql import intervals

HOUR = 3_600_000
NOW = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("hours", "points", "least", "ms", "text"),
    [
        (1, 1000, None, 5_000, "5s"),
        (1, 1000, "10s", 10_000, "10s"),
        (1, 10_000, None, 500, "500ms"),
        (6, 300, None, 60_000, "1m"),
        (24, 1000, "10s", 60_000, "1m"),
        (24, 300, "10s", 300_000, "5m"),
        (720, 900, "10s", 3_600_000, "1h"),
        (720, 1500, "10s", 1_800_000, "30m"),
        (720, 300, None, 7_200_000, "2h"),
        (720, 24, None, 86_400_000, "1d"),
        (8760, 10, None, 2_592_000_000, "30d"),
        (8760, 6, None, 31_536_000_000, "1y"),
        (1, 3_600_000, None, 1, "1ms"),
        (1, 1000, "90s", 90_000, "1m"),
        (1, 1000, "2.5m", 120_000, "2m"),
        (1, 1000, "30", 30_000, "30s"),
    ],
)
def test_the_interval_of_a_panel(hours: int, points: int, least: str | None, ms: int, text: str) -> None:
    """The range by the points is rounded to a round length, not below the least; as text it has one unit."""
    found = intervals.of_range(hours * HOUR, points, least)
    assert (found.ms, found.text) == (ms, text)


@pytest.mark.parametrize("below", [place for place, _ in intervals._ROUNDED])
def test_lengths_at_an_edge_take_the_longer(below: int) -> None:
    """A length is rounded up from the edge on, and never to less than a shorter one."""
    assert intervals.rounded(below - 0.001) < intervals.rounded(below)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300), ("90s", 90), ("20ms", 0.02), ("1.5h", 5400), ("1h30m", 5400), ("12d", 1_036_800),
        ("2w", 1_209_600), ("1M", 31 * 86_400), ("1y", 365 * 86_400), ("0", 0), ("-1m", -60), ("100us", 0.0001),
    ],
)  # fmt: skip
def test_what_a_macro_is_given(text: str, seconds: float) -> None:
    """Lengths as Go reads them, and days to years by the calendar: a month from the 31st of January ends in March."""
    assert intervals.parsed_ns(text, NOW) == round(seconds * 1e9)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "5min", "1d12h", "$__interval", "five"])
def test_what_is_no_interval(text: str) -> None:
    """What Go does not read is an error, a number without its unit too."""
    with pytest.raises(intervals.IntervalError):
        intervals.parsed_ns(text, NOW)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (300.0, "300"), (0.02, "0.02"), (999_999.0, "999999"), (1e6, "1e+06"), (1_036_800.0, "1.0368e+06"),
        (31_536_000.0, "3.1536e+07"), (0.0001, "0.0001"), (0.00001, "1e-05"), (-1_036_800.0, "-1.0368e+06"), (0.0, "0"),
    ],
)  # fmt: skip
def test_numbers_as_go_writes_them(value: float, text: str) -> None:
    """Shortest, with an exponent from a million on."""
    assert intervals.go_float(value) == text
