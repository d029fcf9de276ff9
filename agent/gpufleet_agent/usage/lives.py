"""Which processes still live: one question for all of them instead of a look at the files of each."""

from __future__ import annotations

import os
import select

# No more descriptors than this are held; the files of further processes are read.
_MOST = 512


class Lives:
    """Holds on to processes. What it holds is that very process, whatever gets its id later."""

    def __init__(self) -> None:
        self._held: dict[int, int] = {}
        self._ids: dict[int, int] = {}
        self._poll = select.poll()

    def __contains__(self, pid: int) -> bool:
        return pid in self._held

    def hold(self, pid: int) -> None:
        """Hold on to the process that has this id now, where the kernel lets us and there is room."""
        self.forget(pid)
        if len(self._held) >= _MOST:
            return
        try:
            fd = os.pidfd_open(pid)
        except (OSError, AttributeError):  # not every Python has it
            return
        self._held[pid], self._ids[fd] = fd, pid
        self._poll.register(fd, select.POLLIN)

    def forget(self, pid: int) -> None:
        """Let go of it."""
        fd = self._held.pop(pid, None)
        if fd is not None:
            del self._ids[fd]
            self._poll.unregister(fd)
            os.close(fd)

    def let_go(self) -> list[int]:
        """Let go of those that have ended; their ids."""
        ended = [self._ids[fd] for fd, _ in self._poll.poll(0)]
        for pid in ended:
            self.forget(pid)
        return ended

    def keep(self, pids: set[int]) -> None:
        """Let go of all others."""
        for pid in self._held.keys() - pids:
            self.forget(pid)
