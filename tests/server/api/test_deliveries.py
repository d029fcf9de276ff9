"""What receivers of alerts were told, and trying again what was given up."""

import pytest
from fastapi import FastAPI
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import deliveries, tokens
from gpufleet_server.store.deliveries import New
from gpufleet_server.store.engine import Store
from starlette.testclient import TestClient

from tests.server.api.ask import get, refused
from tests.server.fleet import NOW, SECOND

DAY = 86_400 * SECOND


@pytest.fixture
def outbox(store: Store) -> Store:
    """Five deliveries for two receivers: one dead, one delivered, three wait."""
    with store.writing() as connection:
        new = [New(number, "firing", {"rule": "gpu_lost"}) for number in (1, 2, 3)]
        deliveries.add(connection, "tickets", new, NOW, NOW + DAY)
        deliveries.add(connection, "chat/0123abcd", new[:2], NOW, NOW + DAY)
        taken = deliveries.take(connection, "tickets", NOW, NOW + SECOND, 2)
        deliveries.finish(connection, taken[:1], NOW)
        deliveries.finish(connection, taken[1:], NOW, error="answers 400")
    return store


def test_listing(client: TestClient, outbox: Store) -> None:
    """Newest first, by pages, by state, receiver and alert; with counts of each receiver."""
    page = get(client, "/deliveries", limit=2)
    assert [one["receiver"] for one in page["items"]] == ["chat/0123abcd"] * 2
    rest = get(client, "/deliveries", cursor=page["next"])
    assert [(one["alert"], one["state"]) for one in rest["items"]] == [(3, "waiting"), (2, "dead"), (1, "delivered")]
    assert rest["next"] is None
    counted = [(one["receiver"], one["waiting"], one["delivered"], one["dead"]) for one in rest["receivers"]]
    assert counted == [("chat/0123abcd", 2, 0, 0), ("tickets", 1, 1, 1)]
    (dead,) = get(client, "/deliveries", state="dead")["items"]
    assert (dead["error"], dead["attempts"], dead["next_at"]) == ("answers 400", 1, None)
    assert dead["alert_told"] == {"rule": "gpu_lost"}
    assert len(get(client, "/deliveries", alert=1)["items"]) == 2
    assert len(get(client, "/deliveries", receiver="tickets")["items"]) == 3


def test_what_can_not_be_asked(client: TestClient, outbox: Store) -> None:
    """A state there is not, and a cursor of something else."""
    assert refused(client, "/deliveries?state=lost")["field"] == "query.state"
    assert refused(client, "/deliveries?cursor=x")["field"] == "query.cursor"


def test_trying_again_is_for_administrators(app: FastAPI, client: TestClient, outbox: Store) -> None:
    """All that are dead, or some; what is not dead stays as it is."""
    assert client.post("/deliveries/retry", json={}).status_code == 403
    with outbox.writing() as connection:
        _, text = tokens.create(connection, TokenKind.ADMIN, "admin", now=NOW)
    admin = TestClient(app, headers={"authorization": f"Bearer {text}"})
    assert admin.post("/deliveries/retry", json={"ids": [1, 99]}).json() == {"count": 0}
    assert admin.post("/deliveries/retry", json={}).json() == {"count": 1}
    assert get(client, "/deliveries", state="dead")["items"] == []
    assert admin.post("/deliveries/retry", json={"id": 1}).status_code == 422
