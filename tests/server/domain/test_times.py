"""Times and lengths of time as people write them."""

import datetime

import pytest
from gpufleet_server.domain import times
from hypothesis import given
from hypothesis import strategies as st

MOMENTS = st.integers(times.EARLIEST, times.LATEST)
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@given(MOMENTS)
def test_every_time_comes_back(micros: int) -> None:
    """What is printed is read as the same µs, also as seconds since the epoch."""
    assert times.parse(times.iso(micros)) == micros
    sign, (whole, rest) = "-" if micros < 0 else "", divmod(abs(micros), 10**6)
    assert times.parse(f"{sign}{whole}.{rest:06}") == micros


@given(st.datetimes(datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1)), OFFSETS)
def test_offsets_are_understood(local: datetime.datetime, minutes: int) -> None:
    """A time with an offset is that many minutes from the same digits in UTC, `+` escaped or not."""
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    text = local.replace(tzinfo=zone).isoformat()
    expected = times.parse(local.isoformat() + "Z") - minutes * 60 * 10**6
    assert times.parse(text) == times.parse(text.replace("+", " ")) == expected


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    """Nothing but ValueError comes of rubbish."""
    for read in (times.parse, times.length):
        try:
            assert isinstance(read(text), int)
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("2026-11-21T09:00:00", "no offset"),
        ("2026-11-21", "no offset"),
        ("yesterday", "no time"),
        ("nan", "no time"),
        ("inf", "no time"),
        ("1e999", "years 1 to 9999"),
        ("9" * 400, "years 1 to 9999"),
        ("-99999999999999", "years 1 to 9999"),
        ("0001-01-01T00:00:00+01:00", "years 1 to 9999"),
        ("", "no time"),
    ],
)
def test_a_bad_time_says_what_is_wrong(text: str, part: str) -> None:
    """The message names the value and the mistake."""
    with pytest.raises(ValueError, match=part):
        times.parse(text)


def test_iso_is_utc_to_the_microsecond() -> None:
    """Always as long, always with Z; beyond year 9999 the last moment of it."""
    assert times.iso(1_790_000_000_000_001) == "2026-09-21T14:13:20.000001Z"
    assert times.iso(0) == "1970-01-01T00:00:00.000000Z"
    assert times.iso(1 << 62) == "9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("90", 90_000_000),
        ("0.5", 500_000),
        ("250ms", 250_000),
        ("5m", 300_000_000),
        ("1h", 3_600_000_000),
        ("2w", 14 * 86_400_000_000),
    ],
)
def test_lengths(text: str, micros: int) -> None:
    """Seconds without a unit, else by the unit."""
    assert times.length(text) == micros


@pytest.mark.parametrize("text", ["", "-5", "5 minutes", "1e3", "nan", "5M", "٥", "1" * 13])
def test_no_lengths(text: str) -> None:
    """Anything else is an error that shows how one looks."""
    with pytest.raises(ValueError, match="such as 90, 30s"):
        times.length(text)
