"""A kernel log to read from: a pipe in the place of /dev/kmsg, and what the driver writes into it."""

from __future__ import annotations

import os
import time
from pathlib import Path

FALLEN = "NVRM: Xid (PCI:{address}): {code}, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."


class KernelLogFile:
    """Records as the kernel gives them, in a pipe that keeps them until they are read."""

    def __init__(self, root: Path) -> None:
        """Make it below `root`, where an agent looks for it."""
        path = root / "dev/kmsg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        self.path = path
        # Both ways, so that it stays open while nobody reads.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.number = 0
        self.said: list[bytes] = []

    def say(self, *texts: str, ago: float = 0.0, priority: int = 4) -> None:
        """Write a record each, as of so many seconds ago."""
        for text in texts:
            self.number += 1
            at = time.monotonic_ns() // 1000 - round(ago * 1e6)
            record = f"{priority},{self.number},{at},-;{text}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:3b:00.0\n".encode()
            self.said.append(record)
            os.write(self._fd, record)

    def xid(self, code: int, address: str = "0000:1b:00", ago: float = 0.0) -> None:
        """An XID of the GPU at an address."""
        self.say(FALLEN.format(address=address, code=code), ago=ago)

    def repeat(self) -> None:
        """Give all of it again, as the kernel does to everyone who opens its log; what nobody has read is dropped."""
        try:
            while os.read(self._fd, 1 << 16):
                pass
        except BlockingIOError:
            pass
        for record in self.said:
            os.write(self._fd, record)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)
