"""Which processes have the driver open, as far as this user may see that."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

_DEVICE = re.compile(r"/dev/nvidia(\d+|ctl|-uvm|-uvm-tools|-modeset|-nvswitch.*|-caps/.*)$")
_LIBRARY = re.compile(r"/lib(nvidia-ml|cuda)\.so[^/]*$")


def files_of(pid: int, proc: Path = Path("/proc")) -> list[str]:
    """The driver's devices that a process has open, and the driver's libraries that it has loaded."""
    devices = [path for path in _open(proc / str(pid)) if _DEVICE.search(path)]
    libraries = {path for path in _mapped(proc / str(pid)) if _LIBRARY.search(path) or _DEVICE.search(path)}
    return sorted({*devices, *libraries})


def holders(proc: Path = Path("/proc")) -> list[tuple[int, str]]:
    """Processes (pid, name) that have a device of the driver open, which keeps its kernel modules loaded."""
    found = []
    for folder in proc.iterdir():
        if folder.name.isdecimal() and any(_DEVICE.search(path) for path in _open(folder)):
            with contextlib.suppress(OSError):  # it has ended since
                found.append((int(folder.name), (folder / "comm").read_text().strip()))
    return sorted(found)


def _open(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):  # ended, or another user's
        for link in (folder / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(link.readlink())


def _mapped(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in (folder / "maps").read_text().splitlines():
            # Address, rights, offset, device, inode, path.
            parts = line.split(maxsplit=5)
            if len(parts) == 6:
                yield parts[5]
