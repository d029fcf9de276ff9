"""A credential is renewed when the server asks, and whatever goes wrong meanwhile no report waits for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_agent.runtime.enrol import Enroller

from tests.agent.ingest_end import CREDENTIAL, IngestEnd, serving
from tests.agent.runtime.test_delivery import Sender, sender
from tests.agent.runtime.test_spool import NODE


@pytest.fixture
def end() -> Iterator[IngestEnd]:
    """A server that asks for renewals."""
    with serving(IngestEnd()) as end:
        end.renew = True
        yield end


def enrolled(folder: Path, end: IngestEnd) -> Sender:
    """A sender without a join token that has sent one of its two reports, and was asked to renew."""
    (folder / "credential.json").write_text(json.dumps({"node": NODE, "credential": CREDENTIAL}))
    sent = sender(folder, end.url, token=None)
    sent.delivery.step()
    assert end.times == [1]
    return sent


def kept(folder: Path) -> str | None:
    """The credential that another start would find."""
    return Enroller(folder, NODE, "host", None).credential


def test_it_is_renewed_when_the_server_asks(tmp_path: Path, end: IngestEnd) -> None:
    """On disk before it is used; the next report goes out with it, and the one before is over."""
    sent = enrolled(tmp_path, end)
    assert sent.delivery.due < float("inf")
    sent.delivery.step()
    assert (kept(tmp_path), end.credential) == (f"{CREDENTIAL}-1", CREDENTIAL)
    end.renew = False
    sent.delivery.step()
    assert (end.times, end.credential) == ([1, 2], f"{CREDENTIAL}-1")
    assert sent.delivery.due == float("inf")
    assert (tmp_path / "credential.json").stat().st_mode & 0o777 == 0o600
    sent.delivery.close()


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_server_that_does_not_renew_holds_nothing_up(tmp_path: Path, end: IngestEnd, status: int) -> None:
    """The credential there is goes on; it is not tried again at once."""
    sent = enrolled(tmp_path, end)
    end.answers = [(status, "not now")]
    sent.delivery.step()
    sent.delivery.step()
    assert (end.times, kept(tmp_path)) == ([1, 2], CREDENTIAL)
    assert sent.delivery.due == float("inf")
    sent.delivery.close()


def test_an_answer_that_was_lost_does_no_harm(tmp_path: Path, end: IngestEnd) -> None:
    """The server has made one that nobody will use; the one there is goes on."""
    sent = enrolled(tmp_path, end)
    end.next_credential = "nobody-heard-of-it"
    end.answers = [(500, "lost")]
    sent.delivery.step()
    sent.delivery.step()
    assert (end.times, end.credential) == ([1, 2], CREDENTIAL)
    sent.delivery.close()


def test_one_that_cannot_be_kept_is_not_used(tmp_path: Path, end: IngestEnd) -> None:
    """After a restart it would be lost: the one on disk goes on."""
    sent = enrolled(tmp_path, end)
    (tmp_path / "credential.json.tmp").mkdir()
    sent.delivery.step()
    sent.delivery.step()
    assert (end.times, end.credential, kept(tmp_path)) == ([1, 2], CREDENTIAL, CREDENTIAL)
    sent.delivery.close()


def test_a_server_that_was_restored_knows_the_one_before(tmp_path: Path, end: IngestEnd) -> None:
    """401 for the renewed one, also after a restart of the agent: the one before is tried."""
    sent = enrolled(tmp_path, end)
    sent.delivery.step()
    sent.delivery.close()
    end.next_credential, end.renew = None, False
    again = sender(tmp_path, end.url, token=None)
    for _ in range(4):
        again.delivery.step()
    assert again.spool.backlog.reports == 0
    assert end.times[:2] == [1, 2]
    again.delivery.close()


def test_where_neither_is_known_reports_wait(tmp_path: Path, end: IngestEnd) -> None:
    """Without a join token nothing is lost, and the server is asked again."""
    sent = enrolled(tmp_path, end)
    sent.delivery.step()
    end.credential, end.next_credential = "another", None
    for _ in range(3):
        sent.delivery.step()
    assert (sent.spool.backlog.reports, sent.delivery.reachable) == (1, False)
    end.credential = CREDENTIAL
    sent.delivery.step()
    assert end.times == [1, 2]
    sent.delivery.close()
