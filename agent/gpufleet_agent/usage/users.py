"""User names by id, from whatever name service the host has, without waiting for it."""

from __future__ import annotations

import contextlib
import pwd
import re
from collections.abc import Callable

from gpufleet_agent.usage.patient import Patient, Unanswered

UNKNOWN = "this host has no name for the user id"
WAITING = "the host's name service has not answered yet"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LONGEST = 256


def _host_name(uid: int) -> str:
    # A directory server may give any bytes.
    name = pwd.getpwuid(uid).pw_name.encode(errors="surrogateescape").decode(errors="replace")
    return _CONTROLS.sub("?", name)[:_LONGEST]


class UserNames:
    """Asks for each id until it has a name; one that comes late is there the next time. `ask` raises KeyError for none.

    A directory server that is down takes minutes to say so, for each user anew.
    """

    def __init__(self, ask: Callable[[int], str] = _host_name) -> None:
        self._ask = ask
        self._names: dict[int, str] = {}
        self._patient = Patient()

    def name(self, uid: int) -> tuple[str | None, str]:
        """The name, or None with the reason."""
        if uid not in self._names:
            try:
                self._patient.ask(uid, lambda: self._find(uid))
            except Unanswered:
                return None, WAITING
        found = self._names.get(uid)
        return found, "" if found else UNKNOWN

    def _find(self, uid: int) -> None:
        with contextlib.suppress(KeyError, OverflowError):  # nobody has it, so far
            self._names[uid] = self._ask(uid)
