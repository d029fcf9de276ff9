"""Which GPUs are missing, as rules see it."""

from gpufleet_server.alerts.limits import Limits
from gpufleet_server.alerts.past import sight_of
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.store.engine import Store
from sqlalchemy import select

from tests.server.fleet import NOW, SECOND, Fleet

_LIMITS = Limits({"remembers": 3600.0})


def test_removed_are_those_that_are_nowhere(store: Store, fleet: Fleet) -> None:
    """Not those that are there, that were put elsewhere, or left long ago; and of then, those of then."""
    one, other = fleet.node("one"), fleet.node("other")
    fleet.gpu(one, "GPU-there")
    gone = fleet.gpu(one, "GPU-gone", removed_at=NOW - 60 * SECOND)
    fleet.gpu(one, "GPU-moved", removed_at=NOW - 60 * SECOND)
    fleet.gpu(other, "GPU-moved")
    fleet.gpu(one, "GPU-long-ago", removed_at=NOW - 7200 * SECOND)
    with store.reading() as connection:
        removed = Sight(NOW, _LIMITS, store.dialect).removed("remembers")
        assert connection.execute(select(removed.c.gpu_id, removed.c.hostname)).all() == [(gone, "one")]
        elsewhere = Sight(NOW, _LIMITS, store.dialect, only=[other]).removed("remembers")
        assert connection.execute(select(elsewhere)).all() == []
        before = sight_of(connection, NOW - 120 * SECOND, _LIMITS, []).removed("remembers")
        assert connection.execute(select(before)).all() == []
