"""How long a pause lasts, and that it is kept."""

from pathlib import Path

import msgspec
import pytest
from gpufleet_agent.runtime import pause as pause_module
from gpufleet_agent.runtime.pause import Pause, forget_pause, keep_pause, kept_pause
from gpufleet_agent.wire import Clock, Driver

TOLD = Clock(wall=1_790_000_000_000_000, uptime=5_000_000, boot="this")


@pytest.mark.parametrize(
    ("now", "left"),
    [
        (Clock(wall=TOLD.wall, uptime=TOLD.uptime, boot="this"), 7200),
        # The wall clock was set, and says nothing.
        (Clock(wall=0, uptime=TOLD.uptime + 7_199_000_000, boot="this"), 1),
        (Clock(wall=TOLD.wall + 7_100_000_000, uptime=1, boot="another"), 100),
        (Clock(wall=TOLD.wall + 9_000_000_000, uptime=1, boot="another"), -1800),
    ],
)
def test_time_goes_by_as_the_machine_counts_it(now: Clock, left: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By uptime within a boot, by the wall clock beyond it."""
    monkeypatch.setattr(pause_module, "read_clock", lambda: now)
    assert Pause(TOLD.wall, TOLD, seconds=7200.0).left == left


@pytest.mark.parametrize(
    ("reason", "seconds", "detail"),
    [
        ("", None, ""),
        ("driver update", None, "driver update"),
        ("", 7200.0, "until 2026-09-21 16:13:20 UTC"),
        ("driver update", 7200.0, "driver update (until 2026-09-21 16:13:20 UTC)"),
    ],
)
def test_what_the_server_is_told(reason: str, seconds: float | None, detail: str) -> None:
    """Why, and until when, as far as somebody said so."""
    since = TOLD.wall - 60_000_000
    assert Pause(since, TOLD, reason, seconds).driver == Driver(state="paused", since=since, detail=detail)


def test_it_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    """In a file of the state folder, readable by its owner only."""
    assert kept_pause(tmp_path) is None
    pause = Pause(TOLD.wall, TOLD, "MIG", 60.0)
    keep_pause(tmp_path, pause)
    assert kept_pause(tmp_path) == pause
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
    forget_pause(tmp_path)
    forget_pause(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"{", msgspec.json.encode({"since": "now"})])
def test_a_damaged_one_is_a_pause_without_end(damage: bytes, tmp_path: Path) -> None:
    """Somebody said so, for a reason that is lost: the driver is left alone until they say otherwise."""
    (tmp_path / "paused.json").write_bytes(damage)
    found = kept_pause(tmp_path)
    assert found is not None
    assert found.seconds is None
    assert "paused.json cannot be read" in found.driver.detail
