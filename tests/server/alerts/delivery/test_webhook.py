"""Webhooks are signed, and what they answer decides what comes next."""

import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest
from gpufleet_server.alerts.delivery.errors import NotDelivered
from gpufleet_server.alerts.delivery.settings import WebhookSettings
from gpufleet_server.alerts.delivery.webhook import SIGNATURE, TIMESTAMP, Webhook, signed, verify
from gpufleet_server.store.deliveries import WAITING, Delivery
from hypothesis import given
from hypothesis import strategies as st

from tests.server.alerts.delivery.examples import NOW, alert
from tests.server.alerts.delivery.hook import Answer, Hook, Request, hook

# For tests only; signed by itself, it is its own authority.
CERTIFICATE = Path(__file__).parents[3] / "agent" / "runtime" / "localhost.pem"
Make = Callable[..., Webhook]


def delivery(number: int = 7) -> Delivery:
    """A change to be told."""
    told = alert().told()
    return Delivery(number, 1, "tickets", "firing", WAITING, told, NOW, NOW, 1, NOW, "mine", None, "")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file with two secrets, as while one is replaced."""
    file = tmp_path / "secret"
    file.write_text("new\nold\n")
    return file


@pytest.fixture
def webhook(hook: Hook, secret: Path) -> Iterator[Make]:
    """Makes webhooks, usually to that server."""
    with ExitStack() as stack:

        def make(**more: str) -> Webhook:
            given = {"url": f"{hook.url}/alerts", "secret_file": str(secret), "timeout": "2s"} | more
            return stack.enter_context(closing(Webhook(msgspec.convert(given, WebhookSettings))))

        yield make


def test_it_is_signed_with_each_secret(hook: Hook, webhook: Make) -> None:
    """The receiver can tell that it is ours, which delivery it is, and what happened to which alert."""
    webhook().send([delivery()])
    (request,) = hook.requests
    assert verify(request.headers, request.body, "new", time.time())
    assert verify(request.headers, request.body, "old", time.time())
    assert not verify(request.headers, request.body, "another", time.time())
    assert not verify(request.headers, request.body + b" ", "new", time.time())
    assert request.headers["x-gpufleet-delivery"] == "7"
    assert request.headers["content-type"] == "application/json"
    assert request.json["change"] == "firing"
    assert request.json["alert"]["labels"]["hostname"] == "node-1"
    assert request.json["alert"]["fired_at"].endswith("Z")


def test_an_old_request_is_not_taken(hook: Hook, webhook: Make) -> None:
    """Sent again by who listened it is too old after five minutes, and with another time its signature is wrong."""
    webhook().send([delivery()])
    (request,) = hook.requests
    sent = int(request.headers["x-gpufleet-timestamp"])
    assert verify(request.headers, request.body, "new", sent + 299)
    assert not verify(request.headers, request.body, "new", sent + 301)
    later = {**request.headers, "x-gpufleet-timestamp": str(sent + 301)}
    assert not verify(later, request.body, "new", sent + 301)


@given(st.binary(max_size=64), st.text(min_size=1, max_size=20), st.integers(0, 10**10))
def test_what_is_signed_verifies(body: bytes, secret: str, timestamp: int) -> None:
    """For any body, secret and time; and with none of the headers missing."""
    headers = signed(body, [secret], timestamp)
    assert verify(headers, body, secret, timestamp)
    for name in (SIGNATURE, TIMESTAMP):
        assert not verify({key: value for key, value in headers.items() if key != name}, body, secret, timestamp)


@pytest.mark.parametrize(("status", "final"), [(400, True), (410, True), (404, False), (429, False), (503, False)])
def test_refusals(hook: Hook, webhook: Make, status: int, final: bool) -> None:
    """What no second try can change is final; it is said what was answered, and when to come again."""
    hook.says(status, "not so", retry_after="7")
    with pytest.raises(NotDelivered, match=f"/alerts answers {status}: not so") as error:
        webhook().send([delivery()])
    assert (error.value.final, error.value.after) == (final, 7)


def test_redirects_are_not_followed(hook: Hook, webhook: Make) -> None:
    """What is signed for one place is sent to no other."""
    hook.says(302, location=f"{hook.url}/elsewhere")
    with pytest.raises(NotDelivered, match="answers 302"):
        webhook().send([delivery()])
    assert [request.path for request in hook.requests] == ["/alerts"]


def test_a_slow_or_absent_receiver(hook: Hook, webhook: Make, tmp_path: Path) -> None:
    """Neither who does not answer in time nor who is not there, nor a secret that is gone, ends anything."""

    def slowly(_request: Request) -> Answer:
        time.sleep(1.3)
        return Answer()

    hook.answer = slowly
    with pytest.raises(NotDelivered, match="timed out"):
        webhook(timeout="1s").send([delivery()])
    with pytest.raises(NotDelivered, match="refused"):
        webhook(url="http://127.0.0.1:9").send([delivery()])
    with pytest.raises(NotDelivered, match="can't read"):
        webhook(secret_file=str(tmp_path / "none")).send([delivery()])


def test_it_says_who_it_is(hook: Hook, webhook: Make, tmp_path: Path) -> None:
    """With a bearer token, or with user and password."""
    (tmp_path / "token").write_text("t0ken\n")
    webhook(token_file=str(tmp_path / "token")).send([delivery()])
    webhook(username="me", password_file=str(tmp_path / "token")).send([delivery()])
    assert [request.headers["authorization"] for request in hook.requests] == ["Bearer t0ken", "Basic bWU6dDBrZW4="]


def test_https_with_a_certificate_of_ours(webhook: Make, tmp_path: Path) -> None:
    """A receiver that asks for one is shown it; one that is no good can be replaced without a restart."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATE)
    tls.load_cert_chain(CERTIFICATE)
    tls.verify_mode = ssl.CERT_REQUIRED
    mine = tmp_path / "client.pem"
    mine.write_text("no certificate")
    with hook(tls=tls) as strict:
        with pytest.raises(NotDelivered, match="certificate verify failed"):
            webhook(url=strict.url).send([delivery()])
        it = webhook(url=strict.url, ca_file=str(CERTIFICATE), client_cert=str(mine))
        with pytest.raises(NotDelivered, match="localhost"):
            it.send([delivery()])
        shutil.copy(CERTIFICATE, mine)
        it.send([delivery()])
        assert len(strict.requests) == 1
