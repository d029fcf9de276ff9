"""NVIDIA GPUs, read through NVML by nvidia-ml-py (pynvml)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpufleet_agent.backends.backend import Backend, Session
from gpufleet_agent.wire import Gpu


class NvidiaBackend:
    """Opens NVML. `probe_every` (s) is how often a lost GPU is asked whether it is back; below `root` lie files."""

    vendor = "nvidia"

    def __init__(self, probe_every: float = 60.0, root: Path = Path("/")) -> None:
        self._probe_every, self._root = probe_every, root

    def open(self, known: Sequence[Gpu] = ()) -> Session:
        """See Backend. DriverAbsent where NVML does not open."""
        # pynvml is loaded here, so that who only looks for backends does not pay for it.
        from gpufleet_agent.backends.nvidia.session import NvidiaSession

        return NvidiaSession(self._probe_every, known, self._root)


BACKEND: Backend = NvidiaBackend()
