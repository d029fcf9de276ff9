"""What a push leaves behind to know its own work again: a digest of what it wrote."""

import hashlib
import json
import re
from typing import Any

from gpufleet_dashboards import __version__

_MESSAGE = re.compile(r"gpufleet \S+ pushed ([0-9a-f]{16})")


def digest(content: Any) -> str:
    """16 hexadecimal digits that stand for a JSON value, whatever the order of its keys."""
    written = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def message(content: Any) -> str:
    """What stands in a board's history beside a version that was pushed."""
    return f"gpufleet {__version__} pushed {digest(content)}"


def pushed(said: str) -> str | None:
    """The digest in a message of a board's history, None where it was not pushed."""
    found = _MESSAGE.fullmatch(said or "")
    return found[1] if found else None
