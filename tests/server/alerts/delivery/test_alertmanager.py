"""What an Alertmanager is sent, and what becomes of what it refuses."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import msgspec
import pytest
from gpufleet_server.alerts.delivery.alertmanager import Alertmanager
from gpufleet_server.alerts.delivery.errors import NotDelivered
from gpufleet_server.alerts.delivery.settings import AlertmanagerSettings
from gpufleet_server.domain import times
from gpufleet_server.domain.clock import SECOND
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.alerts.delivery.examples import NOW, alert, resolved
from tests.server.alerts.delivery.hook import Answer, Hook, Request, hook

Make = Callable[..., Alertmanager]


@pytest.fixture
def alertmanager(hook: Hook) -> Iterator[Make]:
    """Makes Alertmanagers at that server, at NOW or by a clock."""
    with ExitStack() as stack:

        def make(now: Callable[[], int] = lambda: NOW, **more: object) -> Alertmanager:
            return stack.enter_context(closing(made(hook, now, **more)))

        yield make


def made(hook: Hook, now: Callable[[], int] = lambda: NOW, **more: object) -> Alertmanager:
    """One at a server."""
    given = {"urls": [hook.url], "timeout": "2s"} | more
    return Alertmanager(hook.url, msgspec.convert(given, AlertmanagerSettings), now)


def refusing(*bad: str) -> Callable[[Request], Answer]:
    """As Alertmanager does: 400 for a batch in which one is not to its taste."""

    def answer(request: Request) -> Answer:
        nodes = {one["labels"]["hostname"] for one in request.json}
        return Answer(400, "invalid") if nodes & set(bad) else Answer()

    return answer


def accepted(hook: Hook) -> list[str]:
    """The nodes of the alerts of all batches that were taken."""
    taken = [request for request in hook.requests if hook.answer(request).status == 200]
    return [one["labels"]["hostname"] for request in taken for one in request.json]


def test_what_is_sent(hook: Hook, alertmanager: Make) -> None:
    """What fires is good for four resends, what ended has its end; both have their begin, and our labels."""
    it = alertmanager(resend="10s", labels={"cluster": "a"})
    assert it.send([alert(1, value=4.0), resolved(alert(2))]) == []
    (request,) = hook.requests
    assert request.path == "/api/v2/alerts"
    ended, firing = sorted(request.json, key=lambda one: one["endsAt"])
    assert firing["endsAt"] == times.iso(NOW + 40 * SECOND)
    assert ended["endsAt"] == times.iso(NOW)
    assert firing["startsAt"] == ended["startsAt"] == times.iso(NOW - 60 * SECOND)
    assert firing["labels"] == {**alert(1).labels, "cluster": "a"}
    assert firing["annotations"] == {"summary": "GPU 0 of node-1 is lost", "advice": "Reboot it.", "value": "4"}


def test_of_one_set_of_labels_the_one_that_fires_is_sent(hook: Hook, alertmanager: Make) -> None:
    """An alert that ended and came again is not sent as ended; of several that ended the last one is."""
    old, now = resolved(alert(1), NOW - 30 * SECOND), replace(alert(1), id=9, fired_at=NOW - SECOND)
    alertmanager().send([now, old])
    alertmanager().send([resolved(now), old])
    alertmanager().send([old, resolved(now)])
    starts = [[one["startsAt"] for one in request.json] for request in hook.requests]
    assert starts == [[times.iso(NOW - SECOND)]] * 3


def test_batches(hook: Hook, alertmanager: Make) -> None:
    """No more than so many at once, the newest first."""
    alerts = [alert(number, fired_at=NOW - number * SECOND) for number in range(1, 8)]
    alertmanager(batch=3).send(alerts)
    sent = [[one["labels"]["hostname"] for one in request.json] for request in hook.requests]
    assert [len(batch) for batch in sent] == [3, 3, 1]
    assert sent[0] == ["node-1", "node-2", "node-3"]


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 40), st.data())
def test_only_what_it_refuses_is_left_out(count: int, data: st.DataObject) -> None:
    """However many bad ones there are among good ones: these all arrive, those are told, and left out next time."""
    bad = data.draw(st.sets(st.integers(1, count), max_size=count - 1))
    with hook() as server:
        server.answer = refusing(*(f"node-{number}" for number in bad))
        it = made(server, batch=16)
        rejected = it.send([alert(number) for number in range(1, count + 1)])
        assert {each.alert.id for each in rejected} == bad
        assert set(accepted(server)) == {f"node-{number}" for number in range(1, count + 1) if number not in bad}
        server.requests.clear()
        assert it.send([alert(number) for number in range(1, count + 1)]) == []
        assert len(accepted(server)) == count - len(bad)
        it.close()


def test_what_was_refused_is_tried_once_it_changed(hook: Hook, alertmanager: Make) -> None:
    """And after ten minutes, for it may not have been the alert's fault."""
    moment = NOW
    it = alertmanager(lambda: moment)
    hook.answer = refusing("node-1")
    assert [each.reason for each in it.send([alert(1), alert(2)])] == [f"{hook.url}/api/v2/alerts answers 400: invalid"]
    assert it.send([alert(1), alert(2)]) == []
    assert it.refused == 1
    hook.says(200)
    hook.requests.clear()
    it.send([replace(alert(1), text="another text")])
    assert accepted(hook) == ["node-1"]
    hook.answer = refusing("node-1")
    it.send([alert(1), alert(2)])
    moment += 601 * SECOND
    assert [each.alert.id for each in it.send([alert(1), alert(2)])] == [1]


def test_who_takes_nothing_has_a_fault_of_its_own(hook: Hook, alertmanager: Make) -> None:
    """400 for all and each, as from a proxy before it, is no reason to leave them out."""
    hook.says(400)
    it = alertmanager()
    with pytest.raises(NotDelivered, match="takes none of 3 alerts"):
        it.send([alert(1), alert(2), alert(3)])
    hook.says(200)
    assert it.send([alert(1), alert(2), alert(3)]) == []
    assert len(json.loads(hook.requests[-1].body)) == 3


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_other_answers_are_for_all(hook: Hook, alertmanager: Make, status: int) -> None:
    """They do not make it look for the bad one."""
    hook.says(status)
    with pytest.raises(NotDelivered, match=str(status)):
        alertmanager().send([alert(1), alert(2)])
    assert len(hook.requests) == 1


def test_nothing_is_not_sent(hook: Hook, alertmanager: Make) -> None:
    """No alert, no request."""
    alertmanager().send([])
    assert hook.requests == []
