"""That the agent was told to let go of the driver: why, for how long, and kept over a restart."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import msgspec
from msgspec import Struct

from gpufleet_agent.runtime.clock import read_clock
from gpufleet_agent.runtime.files import sync_folder, write_whole
from gpufleet_agent.wire import Clock, Driver

_FILE = "paused.json"


class Pause(Struct, frozen=True):
    """A pause. `since` in µs since the epoch; it ends `seconds` after `told`, or when somebody says so (None)."""

    since: int
    told: Clock
    reason: str = ""
    seconds: float | None = None

    @property
    def until(self) -> int | None:
        """When it ends by itself, µs since the epoch."""
        return None if self.seconds is None else self.told.wall + round(self.seconds * 1e6)

    @property
    def left(self) -> float:
        """Seconds until it ends by itself. The wall clock is believed only where the machine was started anew since."""
        if self.seconds is None:
            return float("inf")
        now = read_clock()
        same_boot = now.boot == self.told.boot
        passed = now.uptime - self.told.uptime if same_boot else now.wall - self.told.wall
        return self.seconds - passed / 1e6

    @property
    def driver(self) -> Driver:
        """How the driver stands while it lasts."""
        until = f"until {_utc(self.until)}" if self.until is not None else ""
        detail = f"{self.reason} ({until})" if self.reason and until else self.reason or until
        return Driver(state="paused", since=self.since, detail=detail)


def kept_pause(folder: Path) -> Pause | None:
    """The pause that is kept in a state folder. One that cannot be read is a pause all the same."""
    path = folder / _FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pause)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        now = read_clock()
        return Pause(now.wall, now, f"{path} cannot be read: {error}"[:200])


def keep_pause(folder: Path, pause: Pause) -> None:
    """Keep it, whole or not at all. OSError as it comes."""
    write_whole(folder / _FILE, msgspec.json.encode(pause))


def forget_pause(folder: Path) -> None:
    """It is over. OSError as it comes."""
    path = folder / _FILE
    if path.exists():
        path.unlink()
        sync_folder(folder)


def _utc(micros: int) -> str:
    return datetime.fromtimestamp(micros // 1_000_000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
