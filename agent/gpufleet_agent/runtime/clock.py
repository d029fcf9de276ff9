"""The agent's clocks: the wall for what is reported, the time since boot for what is awaited."""

from __future__ import annotations

import functools
import time
import uuid
from pathlib import Path

from gpufleet_agent.wire import Clock


def wall() -> int:
    """µs since the epoch."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds that never go back; they stand still while the machine sleeps."""
    return time.monotonic()


def uptime() -> float:
    """Seconds since the machine started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@functools.cache
def kernels_boot_id() -> str | None:
    """The kernel's name of this boot; None where it does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


@functools.cache
def boot_id() -> str:
    """The same; a random one where the kernel does not tell."""
    return kernels_boot_id() or str(uuid.uuid4())


def read_clock() -> Clock:
    """This moment on all clocks."""
    return Clock(wall=wall(), uptime=time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, boot=boot_id())


def later(clock: Clock, at: int) -> Clock:
    """The moment of `clock` moved to the wall time `at` (µs), should that be later."""
    ahead = max(0, at - clock.wall)
    return Clock(wall=clock.wall + ahead, uptime=clock.uptime + ahead, boot=clock.boot)


def was_set(before: Clock, now: Clock) -> int:
    """By how many µs the wall clock was set between two moments of one boot."""
    return (now.wall - now.uptime) - (before.wall - before.uptime)


def unset(clock: Clock, now: Clock) -> Clock:
    """This moment as the wall clock would tell it, had it not been set since `clock`."""
    return Clock(wall=now.wall - was_set(clock, now), uptime=now.uptime, boot=now.boot)
