"""Removes samples that are too old, a little at a time, so that a store does not grow until its disk is full."""

import collections
import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, bindparam, delete, exists, func, select
from sqlalchemy.exc import SQLAlchemyError

from gpufleet_server.domain import clock
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, samples

_LOG = logging.getLogger(__name__)

DAY = 86_400 * clock.SECOND
KEEP_SAMPLES = 30 * DAY
_EVERY_S = 600.0
_ROWS = 5_000

# A GPU's newest sample stays: what was last known of a GPU that fell silent is worth a row.
_NEWEST = select(gpus.c.last_sample).where(gpus.c.gpu_id == bindparam("gpu")).scalar_subquery()
_OLD = (samples.c.gpu_id == bindparam("gpu")) & (samples.c.ts < bindparam("before")) & (samples.c.ts < _NEWEST)
_FIRST_KEPT = select(samples.c.ts).where(_OLD).order_by(samples.c.ts).offset(bindparam("rows")).limit(1)
_REMOVE = delete(samples).where(_OLD, samples.c.ts < func.coalesce(_FIRST_KEPT.scalar_subquery(), bindparam("before")))


class Retention:
    """Keeps samples for `keep` µs. Events, states and rosters stay; what is freed the store uses again."""

    def __init__(
        self,
        store: Store,
        keep: int = KEEP_SAMPLES,
        now: Callable[[], int] = clock.now,
        *,
        every: float = _EVERY_S,
        rows: int = _ROWS,
    ) -> None:
        """With `keep` 0 nothing is ever removed. It looks every `every` seconds, and removes about `rows` at once."""
        self._store, self._keep, self._now, self._every, self._rows = store, keep, now, every, rows
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to remove, in a thread of its own."""
        if self._keep:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="gpufleet-retention", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the batch that is being removed."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def sweep(self) -> int:
        """Remove all that is too old now; how many samples that was."""
        before = self._now() - self._keep
        waiting, removed = collections.deque(self._gpus(before)), 0
        while waiting and not self._stopping.is_set():
            began = time.perf_counter()
            with self._store.writing() as connection:
                removed += self._remove(connection, waiting, before)
            # As long a pause as the batch took: reports are never kept waiting for more than one batch.
            self._stopping.wait(time.perf_counter() - began)
        return removed

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                removed = self.sweep()
            except SQLAlchemyError as error:
                _LOG.warning("old samples could not be removed, which will be tried again: %s", error)
            else:
                if removed:
                    _LOG.info("removed %d samples older than %g days", removed, self._keep / DAY)
            self._stopping.wait(self._every)

    def _gpus(self, before: int) -> list[int]:
        old = exists(select(1).where(samples.c.gpu_id == gpus.c.gpu_id, samples.c.ts < before))
        with self._store.reading() as connection:
            return list(connection.execute(select(gpus.c.gpu_id).where(old)).scalars())

    def _remove(self, connection: Connection, waiting: collections.deque[int], before: int) -> int:
        """One batch: of the first GPUs that wait, those that are done leaving."""
        removed = 0
        while waiting and removed < self._rows:
            given = {"gpu": waiting[0], "before": before, "rows": self._rows}
            count = connection.execute(_REMOVE, given).rowcount
            removed += count
            if count < self._rows:
                waiting.popleft()
        return removed
