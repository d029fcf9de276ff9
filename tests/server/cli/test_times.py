"""Times as they are typed."""

import pytest
from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.times import length, moment

NOW = 1_795_251_600_000_000  # 2026-11-21 09:00:00 UTC


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("1h", "2026-11-21T08:00:00.000000Z"),
        ("30s", "2026-11-21T08:59:30.000000Z"),
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.000000Z"),
        ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00.000000Z"),
        ("1795251600", "2026-11-21T09:00:00.000000Z"),
        ("1795251600.5", "2026-11-21T09:00:00.500000Z"),
    ],
)
def test_moments(typed: str, expected: str) -> None:
    """A length ago, ISO 8601, or seconds since the epoch."""
    assert moment(typed, "--since", NOW) == expected


def test_a_time_without_an_offset_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """What someone types without a zone is meant in the terminal's."""
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert moment("2026-11-21T09:00", "--since") == "2026-11-21T00:00:00.000000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("typed", ["", "yesterday", "5x", "2026-13-01", "1h30m", "NaN", "-"])
def test_what_is_no_time(typed: str) -> None:
    """The message names the option, and the status is that of wrong usage."""
    with pytest.raises(CliError, match="--since") as raised:
        moment(typed, "--since", NOW)
    assert raised.value.status == 2


def test_what_is_no_length() -> None:
    """The message names option and value."""
    with pytest.raises(CliError, match="--expires: 'soon'"):
        length("soon", "--expires")
