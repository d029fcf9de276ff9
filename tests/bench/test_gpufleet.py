"""The system that the benchmarks measure keeps what it is sent."""

import time
from pathlib import Path

import pytest

from tests.bench.fleet_load import fleet_load
from tests.bench.gpufleet import Gpufleet
from tests.postgres import NoPostgresError


@pytest.mark.slow
def test_every_value_is_held_once_sealed(tmp_path: Path) -> None:
    """Two hours of a small fleet, over HTTP into PostgreSQL and sealed there: every value is held, once."""
    load = fleet_load(24, 2, 240, time.time())
    try:
        system = Gpufleet(tmp_path / "system")
    except NoPostgresError as error:
        pytest.skip(str(error))
    try:
        system.prepare(load)
        assert system.send(load).requests == len(load.nodes) * len(load.times)
        assert system.held(load) == load.counts()
        assert system.settle()["wal_bytes"]
        assert system.held(load) == load.counts()
        assert system.sizes()["sealed"] > 0
        assert system.cpu_seconds() > 0
        assert 20 < system.rss_mb() < 2000
    finally:
        system.stop()
