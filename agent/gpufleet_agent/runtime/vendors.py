"""The backend for this host: the first vendor whose driver is here. Vendors are loaded in the reader only."""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet_agent.backends.backend import DriverAbsent, Session
from gpufleet_agent.wire import Gpu


class AnyVendor:
    """Opens whichever driver this host has."""

    vendor = "any"

    def open(self, known: Sequence[Gpu] = ()) -> Session:
        """A session on the first driver found. DriverAbsent tells what each vendor lacked."""
        from gpufleet_agent.backends import discover

        absent = []
        for backend in discover().values():
            try:
                return backend.open(known)
            except DriverAbsent as error:
                absent.append(str(error))
        raise DriverAbsent("; ".join(absent) or "no vendor's backend is installed")
