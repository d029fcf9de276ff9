"""A small backend whose driver a test steers by files: real calls, real hangs, real deaths."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from gpufleet_agent.backends.backend import DriverAbsent, DriverFacts, DriverGone, GpuProcess, ProcessList, Tick
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE
from gpufleet_agent.wire import Event, Gpu


class FakeBackend:
    """Does what the files in `folder` say: `absent`, `gone`, `hang`, `hang-open`, `crash`, `xids`, `lost`, `driver`."""

    vendor = "fake"

    def __init__(self, folder: Path, gpus: int = 2) -> None:
        self.folder, self.count = folder, gpus

    def open(self, known: Sequence[Gpu] = ()) -> FakeSession:
        """A session, unless the driver is absent; it never misses a GPU."""
        if (self.folder / "absent").exists():
            raise DriverAbsent("the fake driver is not loaded")
        stuck(self.folder / "hang-open")
        return FakeSession(self)


class FakeSession:
    """GPU n has the serial `serial-n`; the value of every metric is 100 × its place in the catalogue + n."""

    def __init__(self, backend: FakeBackend) -> None:
        self._folder, self._count = backend.folder, backend.count
        self._last: float | None = None
        self._was_lost = self._is_lost()

    def facts(self) -> DriverFacts:
        """Versions; the driver's from the file `driver`."""
        version = self._folder / "driver"
        return DriverFacts(version.read_text() if version.exists() else "1.0", "2.0", None, {"cuda_version": "failed"})

    def gpus(self) -> list[Gpu]:
        """All GPUs; the first is lost while the file `lost` is there."""
        lost = self._is_lost()
        return [
            Gpu(uuid=uuid(n), vendor="fake", index=n, serial=f"serial-{n}", state="lost" if lost and n == 0 else "ok")
            for n in range(self._count)
        ]

    def sample(self) -> Tick | None:
        """Made-up values, after whatever the files ask for."""
        stuck(self._folder / "hang")
        if (self._folder / "crash").exists():
            (self._folder / "crash").unlink()
            os.kill(os.getpid(), signal.SIGSEGV)
        if (self._folder / "gone").exists():
            raise DriverGone("the fake driver was reloaded")
        before, self._last = self._last, time.time()
        if before is None:
            return None
        columns = {
            metric.name: [100 * place + n for n in range(self._count)] for place, metric in enumerate(EVERY_SAMPLE)
        }
        duration = round((self._last - before) * 1000)
        return Tick(int(self._last * 1e6), duration, tuple(uuid(n) for n in range(self._count)), columns)

    def states(self) -> dict[str, dict[str, int]]:
        """Made-up values for what is sent on change."""
        return {
            uuid(n): {metric.name: 10 * place + n for place, metric in enumerate(ON_CHANGE)} for n in range(self._count)
        }

    def processes(self) -> list[ProcessList]:
        """On every GPU the processes of the file `pids`, 1 MiB each."""
        path = self._folder / "pids"
        pids = path.read_text().split() if path.exists() else []
        found = tuple(GpuProcess(int(pid), ("compute",), 1 << 20, 50.0, {}) for pid in pids)
        return [ProcessList(uuid(n), processes=found) for n in range(self._count)]

    def xid_gpus(self) -> list[str]:
        """The first GPU, which is the one that has XIDs, while it is not lost."""
        return [] if self._is_lost() or not self._count else [uuid(0)]

    def wait(self, seconds: float) -> list[Event]:
        """An XID for every number in the file `xids`, which is then emptied; that the first GPU is lost or returns."""
        end = time.monotonic() + seconds
        while True:
            events = self._xids() + self._presence()
            left = end - time.monotonic()
            if events or left <= 0:
                return events
            time.sleep(min(left, 0.01))

    def close(self) -> None:
        """Nothing to let go of."""

    def _is_lost(self) -> bool:
        return (self._folder / "lost").exists()

    def _presence(self) -> list[Event]:
        before, self._was_lost = self._was_lost, self._is_lost()
        if before == self._was_lost:
            return []
        kind = "gpu_lost" if self._was_lost else "gpu_returned"
        return [Event(at=int(time.time() * 1e6), kind=kind, gpu=uuid(0))]

    def _xids(self) -> list[Event]:
        path = self._folder / "xids"
        try:
            codes = path.rename(path.with_name("xids-taken")).read_text().split()
        except OSError:
            return []
        return [Event(at=int(time.time() * 1e6), kind="xid", gpu=uuid(0), code=int(code)) for code in codes]


def uuid(n: int) -> str:
    """The name of GPU n."""
    return f"GPU-00000000-0000-0000-0000-{n:012}"


def raise_xids(folder: Path, codes: str) -> None:
    """Have the driver tell these XIDs; the file appears whole."""
    draft = folder / "xids-draft"
    draft.write_text(codes)
    draft.rename(folder / "xids")


def stuck(flag: Path) -> None:
    """Do not return while the file is there."""
    while flag.exists():
        time.sleep(0.01)
