"""Questions that may never be answered, asked in threads so that nobody waits for long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

# What is not stuck takes well under this time, s.
_PATIENCE = 0.2
# No more than these many are left waiting at a time, so that all of them together hold nobody up either.
_MOST = 4


class Unanswered(Exception):
    """No answer came in time, or an earlier question is still without one."""


class Patient:
    """Asks the kernel for what it may not give as long as a process is stuck."""

    def __init__(self) -> None:
        self._waiting: dict[object, threading.Thread] = {}

    def ask(self, subject: object, question: Callable[[], Any]) -> Any:
        """The answer, or what `question` raises. Unanswered; a subject that left one question open is asked no more."""
        self._waiting = {key: thread for key, thread in self._waiting.items() if thread.is_alive()}
        if subject in self._waiting or len(self._waiting) >= _MOST:
            raise Unanswered
        outcome: list[tuple[Any, Exception | None]] = []
        thread = threading.Thread(target=_answer, args=(question, outcome), daemon=True)
        thread.start()
        thread.join(_PATIENCE)
        if not outcome:
            self._waiting[subject] = thread
            raise Unanswered
        answer, error = outcome[0]
        if error is not None:
            raise error
        return answer


def _answer(question: Callable[[], Any], outcome: list[tuple[Any, Exception | None]]) -> None:
    try:
        outcome.append((question(), None))
    except OSError as error:
        outcome.append((None, error))
