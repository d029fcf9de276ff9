"""Writes what this server did for boards, a row a minute, and its hour anew: from what /metrics shows too."""

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpufleet_server.domain import clock
from gpufleet_server.domain.server_name import server_name
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.store import upkeep
from gpufleet_server.store.bulk import insert_into
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import OF_THE_STORE, cause
from gpufleet_server.store.server_minutes import COUNTED, add_up_hour, server_minutes

_LOG = logging.getLogger(__name__)

MINUTE = 60 * clock.SECOND
# Written so long after its end: a thread that wakes early is still within the next.
_AFTER = clock.SECOND // 10
_FORBIDDEN = (401, 403)
_STATM = Path("/proc/self/statm")


@dataclasses.dataclass(frozen=True, slots=True)
class _Counts:
    """All that only grows, as it stands at `at` (µs): by the columns of `server_minutes`."""

    at: int
    counts: dict[str, float]
    committed_reports: int
    waited: float


class OwnMinutes:
    """Writes them in a thread of its own: a store that is slow holds nothing else up, and shows in the next row."""

    def __init__(
        self,
        store: Store,
        ingest: Statistics,
        kept: upkeep.Statistics,
        now: Callable[[], int] = clock.now,
    ) -> None:
        self._store, self._ingest, self._kept, self._now = store, ingest, kept, now
        self._before = self._counted(now())
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first row is written when this minute is over."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="gpufleet-minutes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, with what there is of this minute."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def write(self) -> None:
        """Write what was done since the last row, as of the minute in which that was."""
        now, before = self._now(), self._before
        then = self._counted(now)
        minute = before.at // MINUTE * MINUTE
        row = {"server": server_name(), "at": minute, **self._between(before, then), **self._standing(now)}
        with self._store.writing() as connection:
            new = insert_into(connection, server_minutes).on_conflict_do_nothing()
            done = connection.execute(new.returning(server_minutes.c.at), row).first()
            add_up_hour(connection, row["server"], minute)
        # Where there is one of this minute, as after a restart of a container, it goes into the next.
        if done is not None:
            self._before = then

    def _run(self) -> None:
        while not self._stopping.wait((MINUTE + _AFTER - self._now() % MINUTE) / clock.SECOND):
            self._write_safely()
        self._write_safely()

    def _write_safely(self) -> None:
        try:
            self.write()
        except OF_THE_STORE as error:
            # What was counted is in the next row, which says how long it is of.
            _LOG.warning("what this server did is not kept: %s", cause(error))

    def _counted(self, now: int) -> _Counts:
        done, steps = self._ingest, list(self._kept.steps.values())
        refused = dict(done.refused)
        forbidden = sum(refused.get(status, 0) for status in _FORBIDDEN)
        counts: dict[str, float] = {name: getattr(done, name) for name in COUNTED}
        counts |= {name: done.reports[name] for name in ("stored", "duplicate")}
        counts |= {
            "refused_credentials": forbidden,
            "refused_content": done.reports["refused"] - forbidden,
            "turned_away": done.reports["unavailable"],
            "too_late": self._kept.sealed.too_late,
            "upkeep": sum(step.seconds for step in steps),
            "upkeep_cpu": sum(step.cpu_seconds for step in steps),
            "cpu": time.process_time(),
        }
        return _Counts(now, counts, done.committed_reports, done.waited_seconds)

    def _between(self, before: _Counts, then: _Counts) -> dict[str, Any]:
        times = list(_taken(self._ingest))
        reports = then.committed_reports - before.committed_reports
        return {name: then.counts[name] - before.counts[name] for name in then.counts} | {
            "covered": (then.at - before.at) // 1000,
            "commit_mean": sum(times) / len(times) if times else None,
            "commit_max": max(times, default=None),
            "waited_mean": (then.waited - before.waited) / reports if reports else None,
        }

    def _standing(self, now: int) -> dict[str, Any]:
        return {
            "queued_reports": self._ingest.queued_reports,
            "queued_bytes": self._ingest.queued_bytes,
            "elected": self._kept.elected,
            "sealing_overdue": self._kept.overdue(now) if self._kept.elected else None,
            "memory": _resident(),
        }


def _taken(ingest: Statistics) -> list[float]:
    """The times of the commits that nobody has taken yet."""
    found: list[float] = []
    with contextlib.suppress(IndexError):
        while True:
            found.append(ingest.commit_times.popleft())
    return found


def _resident() -> int | None:
    """Bytes of memory of this process; None where there is no /proc."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None
