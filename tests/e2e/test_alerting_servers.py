"""Two servers evaluate alerts on one database, and the elected one is killed: none is lost, none is doubled."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from gpufleet_server.simulate.agent import now
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.fleet import Fleet
from gpufleet_server.simulate.plan import fleet
from gpufleet_server.store.alerts import alert_log, alerts
from sqlalchemy import select

from tests.e2e.stack import Server, opened, server, wait_for
from tests.server.cli.processes import reporting

SECOND = 1_000_000
# GPUs are lost so many seconds after the beginning, one a node.
LOST = (6, 9, 12, 15, 18, 21)


def _elected(it: Server, token: str) -> bool:
    page = httpx.get(f"{it.url}/metrics", headers={"authorization": f"Bearer {token}"}, timeout=10).text
    return "gpufleet_alerts_elected 1.0" in page


def _found(it: Server) -> Counter[tuple[str, str]]:
    """(rule, what became of it) → how many of it the history has."""
    query = select(alerts.c.rule, alert_log.c.change).join(alert_log, alert_log.c.alert_id == alerts.c.alert_id)
    with opened(it.database) as store, store.reading() as connection:
        return Counter((row.rule, row.change) for row in connection.execute(query))


@pytest.mark.timeout(240)
def test_the_elected_server_is_killed(tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other takes over when the lease is over; each loss is one alert, before, during and after."""
    monkeypatch.setenv("GPUFLEET_ALERT_INTERVAL", "1s")
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with server(folders[0], postgres_database) as one, server(folders[1], postgres_database) as other:
        reader = one.token("reader")
        wait_for("an election", lambda: _elected(one, reader))
        assert not _elected(other, reader)
        begin, planned = now(), fleet(5, 8 * len(LOST), now(), faults=False)[: len(LOST)]
        nodes = [
            replace(node, faults=(Fault(FaultKind.LOST, begin + after * SECOND, gpu=0),))
            for node, after in zip(planned, LOST, strict=True)
        ]
        with reporting(Fleet(nodes, other.url, other.token("join"), interval=1000, every=1000)):
            wait_for("a first alert", lambda: _found(other)["gpu_lost", "fired"], 60)
            one.kill()
            wait_for("another election", lambda: _elected(other, reader), 60)
            wait_for("the rest", lambda: _found(other)["gpu_lost", "fired"] >= len(LOST), 60)
            assert httpx.get(f"{other.url}/readyz", timeout=5).status_code == 200
    assert _found(other) == {("gpu_lost", "fired"): len(LOST)}
