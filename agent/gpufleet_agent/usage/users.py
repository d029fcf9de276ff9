"""User names by id, from whatever name service the host has, without waiting for it."""

from __future__ import annotations

import pwd
import threading

UNKNOWN = "this host has no name for the user id"
WAITING = "the host's name service has not answered yet"
# A file is read in well under this time; a directory server that is down takes minutes.
_PATIENCE = 0.2


class UserNames:
    """Asks for each id once; an answer that comes late is there the next time."""

    def __init__(self) -> None:
        self._names: dict[int, str | None] = {}
        self._asking: dict[int, threading.Thread] = {}

    def name(self, uid: int) -> tuple[str | None, str]:
        """The name, or None with the reason."""
        if uid not in self._names and uid not in self._asking:
            thread = threading.Thread(target=self._ask, args=(uid,), daemon=True)
            self._asking[uid] = thread
            thread.start()
            thread.join(_PATIENCE)
        if uid not in self._names:
            return None, WAITING
        self._asking.pop(uid, None)
        found = self._names[uid]
        return found, "" if found else UNKNOWN

    def _ask(self, uid: int) -> None:
        try:
            self._names[uid] = pwd.getpwuid(uid).pw_name
        except (KeyError, OverflowError):
            self._names[uid] = None
