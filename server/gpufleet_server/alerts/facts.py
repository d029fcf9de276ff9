"""Figures of a server about itself and its store, by name, as rules over servers read them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from gpufleet_server.alerts.delivery.channels import Standing
from gpufleet_server.alerts.servers import Facts
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.store import upkeep
from gpufleet_server.store.engine import Store
from gpufleet_server.store.partitions import listing
from gpufleet_server.store.tiers import recent

_LONGEST_ERROR = 256


def of_receivers(standings: Sequence[Standing], now: int) -> Facts:
    """Of the receiver that has failed for longest, at `now` (µs): `receiver_failing` (s), `receiver`, `receiver_error`.

    `receivers_failing` is how many do.
    """
    failing = [(each.failing_since, each) for each in standings if each.failing_since is not None]
    if not failing:
        return {"receivers_failing": 0, "receiver_failing": 0.0}
    since, worst = min(failing, key=lambda each: each[0])
    told = {"receiver": worst.name, "receiver_error": worst.error[:_LONGEST_ERROR]}
    return {"receivers_failing": len(failing), "receiver_failing": (now - since) / SECOND, **told}


class OwnFacts:
    """`queued_reports`; of the time since the last call: `waited` (s, mean, from a report's arrival to its commit),
    `failed_commits`, and `turned_away` (reports whose agents were asked to come again later); `sealing_overdue` (s,
    where this server does the upkeep); `partitions_ahead` (s from now for which PostgreSQL has partitions); `disk_free`
    (%, of the disk with an SQLite file; PostgreSQL does not tell its own).
    """

    def __init__(self, store: Store, ingest: Statistics, kept: upkeep.Statistics, now: Callable[[], int]) -> None:
        self._store, self._ingest, self._kept, self._now = store, ingest, kept, now
        self._waited, self._reports, self._failed, self._turned_away = 0.0, 0, 0, 0

    def __call__(self) -> Facts:
        """The figures now; None where one is not known."""
        now, done = self._now(), self._ingest
        waited, reports = done.waited_seconds - self._waited, done.committed_reports - self._reports
        failed = done.failed_commits - self._failed
        turned_away = done.reports["unavailable"] - self._turned_away
        self._waited, self._reports = done.waited_seconds, done.committed_reports
        self._failed, self._turned_away = done.failed_commits, done.reports["unavailable"]
        overdue = self._kept.overdue(now) if self._kept.elected else None
        return {
            "queued_reports": done.queued_reports,
            "waited": waited / reports if reports else None,
            "failed_commits": failed,
            "turned_away": turned_away,
            "sealing_overdue": None if overdue is None else overdue / SECOND,
            "partitions_ahead": self._ahead(now),
            "disk_free": self._disk_free(),
        }

    def _ahead(self, now: int) -> float | None:
        if self._store.dialect == "sqlite":
            return None
        with self._store.reading() as connection:
            found = listing(connection, recent)
        until = now
        for each in found:
            if each.begin is not None and each.end is not None and each.begin <= until:
                until = max(until, each.end)
        return (until - now) / SECOND

    def _disk_free(self) -> float | None:
        if self._store.dialect != "sqlite":
            return None
        usage = shutil.disk_usage(Path(self._store.name.removeprefix("sqlite:///")).parent)
        return 100 * usage.free / usage.total
