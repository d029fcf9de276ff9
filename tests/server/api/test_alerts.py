"""Alerts, silences and rules over the API."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.engine import Engine
from gpufleet_server.alerts.overrides import parse, usual
from gpufleet_server.alerts.service import Settings
from gpufleet_server.api.context import Context
from gpufleet_server.domain.times import iso
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from gpufleet_server.store.events import insert_events
from starlette.testclient import TestClient

from tests.server.api.ask import get, items, pages, refused
from tests.server.fleet import NOW, SECOND, Fleet


@pytest.fixture
def engine(store: Store, fleet: Fleet) -> Engine:
    """An engine on a fleet of which two GPUs of a node are lost."""
    node = fleet.node("n1", site="s1", rack="r1")
    for number in range(3):
        fleet.gpu(node, f"GPU-{number}", position=number, serial=f"S{number}", lost=number < 2)
    made = Engine(store, usual(every_rule()), lambda: NOW)
    made.round()
    return made


@pytest.fixture
def admin(app: FastAPI, store: Store) -> Iterator[TestClient]:
    """Asks with an administrator's token."""
    with store.writing() as connection:
        _, text = tokens.create(connection, TokenKind.ADMIN, "tests", now=NOW)
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as asking:
        yield asking


def test_the_listing_narrows_and_pages(client: TestClient, engine: Engine) -> None:
    """By state, rule, GPU and node; the newest first."""
    assert [one["index"] for one in items(client, "/alerts", state="firing", limit=1)] == [1, 0]
    assert get(client, "/alerts", gpu="S0")["items"][0]["text"] == "GPU 0 of n1 (–, serial S0) has fallen off the bus"
    assert next(pages(client, "/alerts", limit=1))["total"] == 2
    for given in ({"state": "pending"}, {"rule": "hot_against_limits"}, {"node": "n2"}, {"held": True}):
        assert get(client, "/alerts", **given)["items"] == []
    assert refused(client, "/alerts", state="gone")["field"].startswith("query.state")


def test_one_alert_tells_all_of_it(client: TestClient, engine: Engine) -> None:
    """Labels, history, advice and the runbook."""
    one = get(client, "/alerts/1")
    assert one["labels"] == {
        "category": "hardware", "gpu": "GPU-0", "hostname": "n1", "index": "0", "rack": "r1", "serial": "S0",
        "site": "s1", "node": one["node"],
    }  # fmt: skip
    assert [entry["change"] for entry in one["history"]] == ["fired"]
    assert "What to do" in one["runbook"]
    refused(client, "/alerts/99", 404)


def test_taking_on_is_an_administrators(client: TestClient, admin: TestClient, engine: Engine) -> None:
    """It says by whom and why, in the alert and in its history; not of alerts that are over."""
    body = {"by": "ada", "why": "on it"}
    assert client.post("/alerts/1/ack", json=body).status_code == 403
    assert admin.post("/alerts/1/ack", json={"by": "ada"}).json()["field"] == "body.why"
    one = admin.post("/alerts/1/ack", json=body).json()
    assert (one["acknowledged_by"], one["acknowledged_why"]) == ("ada", "on it")
    assert one["history"][-1] == {"at": iso(NOW), "change": "acknowledged", "by": "ada", "text": "on it"}
    assert [found["id"] for found in items(client, "/alerts", acknowledged=False)] == [2]
    assert admin.post("/alerts/99/ack", json=body).status_code == 404


def test_what_xids_told_of_is_declared_over(
    client: TestClient, admin: TestClient, engine: Engine, fleet: Fleet, store: Store
) -> None:
    """By an administrator, with who and why: alerts of that GPU end, no other's, and none that are told by states."""
    with store.writing() as connection:
        for gpu_id, code in ((3, 62), (3, 95), (2, 62)):
            row = {"node_id": 1, "gpu_id": gpu_id, "ts": NOW - SECOND, "received_at": NOW - SECOND, "kind": "xid"}
            insert_events(connection, [row | {"code": code, "source": "nvml", "detail": {}}])
    engine.happened([("xid", 1)])
    engine.take_events()
    first = items(client, "/alerts", rule="xid_reset_gpu", gpu="GPU-2")
    assert len(first) == 2
    body = {"by": "ada", "why": "was reset"}
    path = f"/alerts/{first[0]['id']}/resolve"
    assert client.post(path, json=body).status_code == 403
    assert admin.post(path, json=body).json()["history"][-1]["change"] == "declared over"
    engine.round(NOW + 15 * SECOND)
    assert items(client, "/alerts", rule="xid_reset_gpu", gpu="GPU-2", state="firing") == []
    assert len(items(client, "/alerts", rule="xid_reset_gpu", gpu="GPU-1", state="firing")) == 1
    told = get(client, "/events", kind="declared_healthy")["items"][0]
    assert (told["message"], told["detail"]["by"]) == ("was reset", "ada")
    assert admin.post(path, json=body).status_code == 404
    assert admin.post("/alerts/1/resolve", json=body).status_code == 409
    assert admin.post("/alerts/999/resolve", json=body).status_code == 404


def test_silences_hold_alerts_back(client: TestClient, admin: TestClient, engine: Engine) -> None:
    """Made, heeded by the next round, ended before their time."""
    body = {"matchers": {"hostname": "n*", "index": "0"}, "ends_at": iso(NOW + 3600 * SECOND), "by": "ada", "why": "x"}
    made = admin.post("/silences", json=body).json()
    assert (made["state"], made["kind"], made["starts_at"]) == ("active", "silence", iso(NOW))
    engine.round(NOW + SECOND)
    assert [one["held_by"] for one in items(client, "/alerts")] == [None, "silence 1"]
    assert admin.delete("/silences/1", params={"by": "bob"}).status_code == 204
    engine.round(NOW + 2 * SECOND)
    assert items(client, "/alerts", held=True) == []
    assert get(client, "/silences")["items"] == []
    assert get(client, "/silences", over=True)["items"][0]["ended_by"] == "bob"
    assert admin.delete("/silences/1", params={"by": "bob"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"matchers": {"hostname": "*"}}, "body.matchers"),
        ({"ends_at": iso(NOW - SECOND)}, "body.ends_at"),
        ({"ends_at": None}, "body.ends_at"),
        ({"matchers": {}}, "body.matchers"),
    ],
)
def test_silences_that_can_not_be(admin: TestClient, engine: Engine, change: dict[str, object], field: str) -> None:
    """Of everything, or over before they begin: the field at fault is named."""
    body = {"matchers": {"rack": "r1"}, "ends_at": iso(NOW + SECOND), "by": "ada", "why": "x"} | change
    answer = admin.post("/silences", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_rules_are_told_as_they_are_in_force(client: TestClient, app: FastAPI, store: Store, engine: Engine) -> None:
    """With what an owner set otherwise, how the last evaluation went, and what the rule says of a time."""
    where = {"model": "H200", "thresholds": {"margin": 9}, "severity": "critical"}
    given = {"rules": {"hot_against_limits": {"thresholds": {"margin": 4}, "wait": "1m", "where": [where]}}}
    settings = Settings(overrides=parse(given, every_rule()))
    app.state.context = Context(store, app.state.context.tokens, lambda: NOW, settings)
    rules = {rule["name"]: rule for rule in get(client, "/alert-rules")["items"]}
    hot = rules["hot_against_limits"]
    assert [(one["value"], one["usual"], one["unit"]) for one in hot["thresholds"]] == [(4, 2, "°C")]
    assert (hot["wait_s"], hot["where"][0]["thresholds"]) == (60, {"margin": 9})
    assert rules["gpu_lost"]["last_run"]["found"] == 2
    assert "fans" in get(client, "/alert-rules/hot_against_limits")["runbook"]
    assert "near it: gpu_lost" in refused(client, "/alert-rules/gpu_los", 404)["detail"]
    tried = get(client, "/alert-rules/driver_unresponsive/trial")
    assert (tried["at"], tried["items"]) == (iso(NOW), [])
