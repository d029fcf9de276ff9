"""The short version of `make chaos`."""

import asyncio
from pathlib import Path

import pytest

from tests import postgres
from tests.chaos.proxy import Bodies
from tests.chaos.run import chaos


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    """After ten kills and cuts of everything every sample and event is there, once, and rolled up once."""
    try:
        postgres.binaries()
    except postgres.NoPostgresError as error:
        pytest.skip(f"needs PostgreSQL: {error}")
    outcome = asyncio.run(chaos(tmp_path, kills=10, seed=11, gpus=160, backlog=300))
    assert outcome.good, outcome
    assert outcome.samples > 1000


def test_bodies_are_found_however_they_are_cut() -> None:
    """Requests in one stream, fed byte by byte."""
    seen: list[bytes] = []
    bodies = Bodies(seen.append)
    for byte in b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n":
        bodies.feed(bytes([byte]))
    assert seen == [b"abc", b""]
