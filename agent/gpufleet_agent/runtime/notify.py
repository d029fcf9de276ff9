"""Tells systemd how the service stands: sd_notify(3), a datagram to the socket that it names."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from gpufleet_agent.runtime.clock import monotonic


class Notifier:
    """Says that the service is ready, how it stands, and every so often that it lives. Silent where nobody asks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """$NOTIFY_SOCKET says whom to tell, $WATCHDOG_USEC and $WATCHDOG_PID within what time to show life."""
        address = environment.get("NOTIFY_SOCKET", "")
        # Addresses of other kinds are for virtual machines.
        self._address = "\0" + address[1:] if address[:1] == "@" else address if address[:1] == "/" else None
        self._every = _watchdog_seconds(environment) / 2 if self._address else float("inf")
        self._status = ""
        self.due = float("inf")

    def ready(self) -> None:
        """The service does its work from now on."""
        self._send("READY=1")
        self.due = monotonic() + self._every

    def stand(self, status: str) -> None:
        """What `systemctl status` shows; sent where it is new."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def tend(self) -> None:
        """Show life where that is due."""
        if monotonic() >= self.due:
            self._send("WATCHDOG=1")
            self.due = monotonic() + self._every

    def stopping(self) -> None:
        """The service is on its way out."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            try:
                sock.sendto(text.encode(), self._address)
            except OSError:
                # Nobody listens, or has no room now: systemd will see what becomes of it.
                return


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    asked = environment.get("WATCHDOG_USEC", "")
    mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(asked) / 1e6 if mine and asked.isascii() and asked.isdigit() and int(asked) else float("inf")
