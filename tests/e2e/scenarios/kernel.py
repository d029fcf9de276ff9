"""Steers the clocks of processes under test, and whether they can be killed: an hour passes in a second."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import subprocess
import time
from pathlib import Path

from tests.nvml_sim.build import BUILDS, FLAGS, compiler

SOURCE = Path(__file__).with_name("kernel.c")
_STEERING = struct.Struct("qq")


def library() -> Path:
    """The library to preload, built if need be."""
    flags = [flag for flag in FLAGS if flag != "-fvisibility=hidden"]
    digest = hashlib.sha256(SOURCE.read_bytes() + repr(flags).encode()).hexdigest()[:16]
    built = BUILDS / f"kernel-{digest}.so"
    if not built.exists():
        BUILDS.mkdir(exist_ok=True)
        draft = built.with_suffix(f".{os.getpid()}")
        subprocess.run([*compiler(), *flags, str(SOURCE), "-o", str(draft)], check=True)
        draft.replace(built)
    return built


class Kernel:
    """Shared with every process that has `environment`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_bytes(bytes(_STEERING.size))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _STEERING.size)
        self.ahead = 0.0
        self._unkillable = False

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to be steered."""
        return {"LD_PRELOAD": str(library()), "GPUFLEET_KERNEL": str(self._file)}

    def now(self) -> float:
        """The time of those processes, seconds since the epoch."""
        return time.time() + self.ahead

    def advance(self, seconds: float) -> None:
        """Set all their clocks forward."""
        self.ahead += seconds
        self._write()

    def hold(self, held: bool) -> None:
        """Whether SIGKILL has no effect, as on a process that sleeps in the kernel; it comes when that ends."""
        self._unkillable = held
        self._write()

    def _write(self) -> None:
        self._shared[:] = _STEERING.pack(round(self.ahead * 1e9), self._unkillable)
