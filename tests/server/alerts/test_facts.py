"""What a server tells of itself, for rules over servers."""

from gpufleet_server.alerts.delivery.channels import Standing
from gpufleet_server.alerts.delivery.errors import NotDelivered
from gpufleet_server.alerts.facts import OwnFacts, of_receivers
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.store import upkeep
from gpufleet_server.store.engine import Store
from gpufleet_server.store.partitions import make_ahead

from tests.server.fleet import NOW, SECOND


def test_of_the_time_since_the_last_look(store: Store) -> None:
    """Waits, failed commits and reports that were turned away are counted anew; the rest is as it stands."""
    with store.writing() as connection:
        make_ahead(connection, NOW)
    ingest = Statistics(queued_reports=7, committed_reports=10, waited_seconds=5.0, failed_commits=2)
    ingest.reports["unavailable"] = 4
    facts = OwnFacts(store, ingest, upkeep.Statistics(), lambda: NOW)
    first, second = facts(), facts()
    assert (first["queued_reports"], first["waited"], first["failed_commits"], first["turned_away"]) == (7, 0.5, 2, 4)
    assert (second["waited"], second["failed_commits"], second["turned_away"]) == (None, 0, 0)
    assert second["sealing_overdue"] is None
    on_sqlite = store.dialect == "sqlite"
    assert (first["disk_free"] is None, first["partitions_ahead"] is None) == (not on_sqlite, on_sqlite)
    if not on_sqlite:
        assert isinstance(ahead := first["partitions_ahead"], float)
        assert 6 * 3600 <= ahead <= 7 * 3600


def test_of_the_receiver_that_fails_for_longest() -> None:
    """By name, with what it answered last; none fails once they take alerts again."""
    well, first, second = (Standing(name, "webhook", "") for name in ("well", "first", "second"))
    first.failed(NOW - 90 * SECOND, NotDelivered("connection refused"))
    second.failed(NOW - 30 * SECOND, NotDelivered("timed out"))
    told = of_receivers([well, second, first], NOW)
    assert (told["receiver"], told["receiver_failing"], told["receivers_failing"]) == ("first", 90.0, 2)
    assert told["receiver_error"] == "connection refused"
    first.succeeded(NOW, 1)
    second.succeeded(NOW, 1)
    assert of_receivers([well, second, first], NOW) == {"receivers_failing": 0, "receiver_failing": 0.0}
