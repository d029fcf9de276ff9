"""An agent whose credential is renewed with every report, against a real server of each engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_server.store.tokens import TokenRow, listing

from tests.agent.fake_driver import raise_xids
from tests.agent.process import agent, until
from tests.e2e.stack import Server, gpufleet, opened, server, wait_for

_RAISED = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def renewing(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that asks for a renewal of every credential, at once."""
    monkeypatch.setenv("GPUFLEET_RENEW_CREDENTIALS", "1ms")
    postgresql = request.getfixturevalue("postgres_database") if request.param == "postgresql" else None
    with server(tmp_path, postgresql) as it:
        yield it


def credentials(of: Server) -> list[TokenRow]:
    """Every credential of a node that was ever given."""
    with opened(of.database) as store, store.reading() as connection:
        return [row for row in listing(connection) if row.node is not None]


def test_no_report_is_refused_while_credentials_change(renewing: Server, tmp_path: Path) -> None:
    """Every event arrives once and in order; the credentials of before are over."""
    reader = renewing.token("reader")

    def xids() -> list[str]:
        items = renewing.get("/events", reader, kind="xid", limit=100)["items"]
        return [str(event["code"]) for event in items][::-1]

    with agent(tmp_path, f"server={renewing.url}", f"token={renewing.token('join')}"):
        for number in range(1, _RAISED + 1):
            raise_xids(tmp_path / "driver", str(number))
            until(lambda: str(number) in xids())  # noqa: B023 - it is called in this round only
        log = (tmp_path / "log").read_text()
        assert log.count("the credential is renewed") >= _RAISED - 1
        assert "does not take" not in log
        given = credentials(renewing)
        assert len(given) >= _RAISED
        # Beside the one in use, at most one that was given and not used yet.
        assert len([row for row in given if row.revoked_at is None]) <= 2
    assert xids() == [str(number) for number in range(1, _RAISED + 1)]


def test_a_revoked_credential_stops_the_node(any_server: Server, tmp_path: Path) -> None:
    """At once, and without a join token for good; what it reads from then on it keeps."""
    settings = (f"server={any_server.url}", f"token={any_server.token('join')}")
    with agent(tmp_path, *settings):
        wait_for("a report", lambda: any_server.get("/nodes", any_server.token("reader"))["total"])
    with agent(tmp_path, settings[0]):
        (row,) = credentials(any_server)
        gpufleet("token", "revoke", str(row.id), "--database", any_server.database)
        raise_xids(tmp_path / "driver", "79")
        until(lambda: "unknown, revoked or expired" in (tmp_path / "log").read_text())
    assert list((tmp_path / "state/spool").iterdir())
    (row,) = credentials(any_server)
    assert row.revoked_at is not None
