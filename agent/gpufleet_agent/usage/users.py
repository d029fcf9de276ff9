"""User names by id, from whatever name service the host has, without waiting for it."""

from __future__ import annotations

import pwd
import re
import threading
from collections.abc import Callable

UNKNOWN = "this host has no name for the user id"
WAITING = "the host's name service has not answered yet"
# A file is read in well under this time; a directory server that is down takes minutes.
_PATIENCE = 0.2
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST = 256


def _host_name(uid: int) -> str:
    # A directory server may give any bytes.
    name = pwd.getpwuid(uid).pw_name.encode(errors="surrogateescape").decode(errors="replace")
    return _CONTROLS.sub("?", name)[:_LONGEST]


class UserNames:
    """Asks for each id once; an answer that comes late is there the next time. `ask` raises KeyError for no name."""

    def __init__(self, ask: Callable[[int], str] = _host_name) -> None:
        self._ask = ask
        self._names: dict[int, str | None] = {}
        self._asking: dict[int, threading.Thread] = {}

    def name(self, uid: int) -> tuple[str | None, str]:
        """The name, or None with the reason."""
        if uid not in self._names and uid not in self._asking:
            thread = threading.Thread(target=self._find, args=(uid,), daemon=True)
            self._asking[uid] = thread
            thread.start()
            thread.join(_PATIENCE)
        if uid not in self._names:
            return None, WAITING
        self._asking.pop(uid, None)
        found = self._names[uid]
        return found, "" if found else UNKNOWN

    def _find(self, uid: int) -> None:
        try:
            self._names[uid] = self._ask(uid)
        except (KeyError, OverflowError):
            self._names[uid] = None
