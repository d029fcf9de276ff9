"""An agent whose credential is renewed with every report, against a real server of each engine."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from gpufleet_server.store.tokens import TokenRow, listing

from tests.agent.fake_driver import raise_xids, uuid
from tests.agent.process import ROOT, agent, until
from tests.e2e import dying_agent
from tests.e2e.stack import Server, gpufleet, opened, server, wait_for
from tests.e2e.test_agent_killed import Spooled
from tests.server import stored

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


def samples(of: Server) -> list[tuple[int, int]]:
    """End (µs) and duration (ms) of every sample of the first GPU."""
    with opened(of.database) as store:
        return sorted((sample.ts, sample.duration) for sample in stored.every(store) if sample.gpu == uuid(0))


def test_an_agent_killed_while_it_keeps_its_new_credential_leaves_no_gap(renewing: Server, tmp_path: Path) -> None:
    """Wherever that is, it goes on with the old or the new one; what it had read arrives, each sample once."""
    driver, state, spooled = tmp_path / "driver", tmp_path / "state", Spooled(tmp_path / "state/spool")
    with agent(tmp_path, f"server={renewing.url}", f"token={renewing.token('join')}"):
        until((state / "credential.json").exists)
    for place in dying_agent.PLACES:
        command = [sys.executable, "-m", "tests.e2e.dying_agent", place, str(driver), str(state)]
        with (tmp_path / "log").open("ab") as log:
            # Without a join token: it has nothing but what is on its disk.
            ended = subprocess.run([*command, f"server={renewing.url}"], stderr=log, cwd=ROOT, timeout=60, check=False)
        assert ended.returncode == -signal.SIGKILL, place
        spooled.look()
    with agent(tmp_path, f"server={renewing.url}") as process:
        raise_xids(driver, "8")
        until(lambda: (tmp_path / "log").read_text().count("the credential is renewed") >= 3)
        process.terminate()
        assert process.wait(60) == 0
    assert not list((state / "spool").iterdir())
    log_text = (tmp_path / "log").read_text()
    assert "does not take" not in log_text
    assert "does not know the renewed credential" not in log_text
    found = samples(renewing)
    assert spooled.samples <= {(uuid(n), at) for at, _ in found for n in range(2)}
    assert len({at for at, _ in found}) == len(found)
    assert len([row for row in credentials(renewing) if row.revoked_at is None]) <= 2


def test_samples_are_contiguous_over_renewals(renewing: Server, tmp_path: Path) -> None:
    """Each begins where the one before ended, while the credential changes with every report."""
    with agent(tmp_path, f"server={renewing.url}", f"token={renewing.token('join')}") as process:
        for number in range(1, _RAISED + 1):
            raise_xids(tmp_path / "driver", str(number))
            until(lambda: (tmp_path / "log").read_text().count("is renewed") >= number)  # noqa: B023 - as above
        wait_for("samples", lambda: len(samples(renewing)) >= 3)
        process.terminate()
        assert process.wait(60) == 0
    found = samples(renewing)
    gaps = [abs(at - duration * 1000 - before) for (before, _), (at, duration) in pairwise(found)]
    # Durations are told in ms.
    assert max(gaps) <= 1500


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
