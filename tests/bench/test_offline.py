"""What the spool keeps while there is no server fits, and arrives once."""

from pathlib import Path

from gpufleet_agent.config import Config

from tests.bench import offline
from tests.e2e.stack import server

_HOURS = 1.5
# With the default interval of 10 s a report is closed with every tick, and at once for the roster at the start.
_A_DAY = 86_400 // 10 + 1


def test_a_day_fits_and_what_was_kept_arrives_exactly_once(tmp_path: Path) -> None:
    """Real reports of 8 busy GPUs: a day of the largest of them within the bounds; a part of a day, drained."""
    with server(tmp_path) as it:
        found = offline.run(tmp_path, it, _HOURS)
    assert found.exactly_once, found
    assert found.reports == _HOURS * 360 + 1
    assert found.requests < 40
    assert found.bytes_mean > 1000
    assert found.bytes_most * _A_DAY < Config().spool_size / 2
    assert Config().spool_age > 86_400
