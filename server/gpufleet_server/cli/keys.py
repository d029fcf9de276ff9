"""Single keys from a terminal, without waiting for a line."""

import select
import sys
import termios
import tty
from typing import Any, Self


class Keys:
    """While it is open, keys come one by one and are not shown. Without a terminal no key ever comes."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def pressed(self, key: str, seconds: float) -> bool:
        """Whether this key is pressed within the time; another key ends the waiting as well."""
        if self._before is None:
            select.select([], [], [], seconds)
            return False
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return bool(ready) and sys.stdin.read(1).lower() == key
