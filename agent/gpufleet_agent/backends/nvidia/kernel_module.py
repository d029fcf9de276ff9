"""The NVIDIA kernel module that is loaded, as the kernel tells it: also while the library does not fit it."""

from __future__ import annotations

import re
from pathlib import Path

_FILES = ("sys/module/nvidia/version", "proc/driver/nvidia/version")
_VERSION = re.compile(r"(?:^|Module(?: for \S+)?\s+)(\d+\.[\d.]*\d)")


def module_version(root: Path = Path("/")) -> str | None:
    """Its version; None where none is loaded, or this process cannot see it."""
    for name in _FILES:
        try:
            found = _VERSION.search((root / name).read_text(errors="replace"))
        except OSError:
            continue
        if found:
            return found[1]
    return None
