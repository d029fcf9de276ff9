"""Apprise is told in words, and its URLs are shown nowhere."""

import json

import pytest
from gpufleet_server.alerts.delivery import notification
from gpufleet_server.alerts.delivery.errors import NotDelivered, ReceiversError
from gpufleet_server.alerts.delivery.notification import Notification, body, title
from gpufleet_server.store.deliveries import WAITING, Delivery

from tests.server.alerts.delivery.examples import NOW, alert, resolved
from tests.server.alerts.delivery.hook import Hook

# Apprise itself imports what Python gives up.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
needs_apprise = pytest.mark.skipif(not notification.installed(), reason="the extra `apprise` is not installed")


def delivery(number: int, *, ended: bool = False) -> Delivery:
    """A change to be told."""
    it = resolved(alert(number)) if ended else alert(number)
    return Delivery(number, number, "chat", it.change, WAITING, it.told(), NOW, NOW, 1, NOW, "mine", None, "")


def url(hook: Hook) -> str:
    """Apprise's URL for that server, with a password in it."""
    return hook.url.replace("http://", "json://me:s3cretword@") + "/s3cretpath"


def test_in_words() -> None:
    """One alert is told with what to do; several together with a line each."""
    assert title([delivery(1)]) == "[CRITICAL] gpu_lost on ams1 node-1 GPU 0"
    assert body([delivery(1)]).startswith("GPU 0 of node-1 is lost\nReboot it.\nSince 2026-11-22T")
    assert title([delivery(1, ended=True)]) == "[RESOLVED] gpu_lost on ams1 node-1 GPU 0"
    assert title([delivery(1), delivery(2), delivery(3, ended=True)]) == "3 alerts: 2 firing, 1 resolved"
    assert body([delivery(1), delivery(2)]).count("Reboot it.") == 2


@needs_apprise
def test_it_is_told(hook: Hook) -> None:
    """Apprise posts it; how grave it is comes along."""
    Notification(url(hook)).send([delivery(1)])
    Notification(url(hook)).send([delivery(1, ended=True)])
    assert [json.loads(request.body)["type"] for request in hook.requests] == ["failure", "success"]
    assert json.loads(hook.requests[0].body)["title"] == "[CRITICAL] gpu_lost on ams1 node-1 GPU 0"


@needs_apprise
def test_a_failure_shows_no_secret(hook: Hook) -> None:
    """Why it failed is said, without the URL."""
    hook.says(500)
    with pytest.raises(NotDelivered) as error:
        Notification(url(hook)).send([delivery(1)])
    assert "500" in str(error.value)
    assert "s3cret" not in str(error.value)
    with pytest.raises(ReceiversError) as unknown:
        Notification("nosuch://s3cretword@host/s3cretpath")
    assert "s3cret" not in str(unknown.value)
    assert str(unknown.value).startswith("nosuch://… (")
