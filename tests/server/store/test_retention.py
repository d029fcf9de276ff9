"""Old samples go, a batch at a time; all else stays."""

import threading
import time
from collections.abc import Callable

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.retention import DAY, Retention
from sqlalchemy import text

from tests.server.fleet import NOW, SECOND, Fleet


def _ages(store: Store) -> list[tuple[int, float]]:
    """GPU and age in days of each sample, oldest first."""
    with store.reading() as connection:
        rows = connection.execute(text("SELECT gpu_id, ts FROM samples ORDER BY gpu_id, ts"))
        return [(gpu_id, (NOW - ts) / DAY) for gpu_id, ts in rows]


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def filled(store: Store, fleet: Fleet) -> Store:
    """Two GPUs with samples of nine days, and one that fell silent three days ago."""
    node = fleet.node("alpha")
    for uuid, newest in (("GPU-1", 0), ("GPU-2", 0), ("GPU-3", 3)):
        gpu = fleet.gpu(node, uuid)
        for age in range(newest, 9):
            fleet.sample(gpu, NOW - age * DAY)
    return store


@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_what_is_too_old_goes(filled: Store, rows: int) -> None:
    """However small the batches; a sample of exactly that age stays, and so does each GPU's newest."""
    assert Retention(filled, 2 * DAY, lambda: NOW, rows=rows).sweep() == 6 + 6 + 5
    assert _ages(filled) == [(1, 2), (1, 1), (1, 0), (2, 2), (2, 1), (2, 0), (3, 3)]
    assert Retention(filled, 2 * DAY, lambda: NOW, rows=rows).sweep() == 0


def test_only_samples_go(store: Store, fleet: Fleet) -> None:
    """Events and states are history that is kept."""
    gpu = fleet.gpu(fleet.node("alpha"), "GPU-1")
    fleet.state(gpu, "ecc_sram_corrected", NOW - 400 * DAY, 7)
    fleet.event(1, "xid", NOW - 400 * DAY, gpu_id=gpu, code=79)
    fleet.sample(gpu, NOW - 400 * DAY)
    fleet.sample(gpu, NOW)
    assert Retention(store, 30 * DAY, lambda: NOW).sweep() == 1
    with store.reading() as connection:
        for table in ("nodes", "gpus", "states", "events", "samples"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 1


def test_others_write_between_batches(filled: Store) -> None:
    """A report waits for one batch at most, not for all that is to go."""
    retention, seen = Retention(filled, SECOND, lambda: NOW, rows=1), set[int]()
    sweep = threading.Thread(target=retention.sweep)
    sweep.start()
    while sweep.is_alive():
        with filled.writing():
            seen.add(len(_ages(filled)))
    assert len(seen) > 3


def test_it_goes_on_in_the_background(filled: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It looks again and again, and outlives a store that does not answer for a while."""
    with filled.writing() as connection:
        connection.execute(text("ALTER TABLE samples RENAME TO hidden"))
    retention = Retention(filled, 2 * DAY, lambda: NOW, every=0.01)
    retention.start()
    try:
        _wait_for(lambda: "tried again" in caplog.text)
        with filled.writing() as connection:
            connection.execute(text("ALTER TABLE hidden RENAME TO samples"))
        _wait_for(lambda: len(_ages(filled)) == 7)
    finally:
        retention.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "gpufleet-retention"]


def test_for_ever(filled: Store) -> None:
    """With 0 nothing is removed, and nothing runs."""
    retention = Retention(filled, 0, lambda: NOW)
    retention.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "gpufleet-retention"]
    retention.stop()
    assert len(_ages(filled)) == 24
