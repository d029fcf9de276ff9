"""The stand-in itself: what is not as documented is refused and told, and state is kept as Grafana keeps it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.dashboards.grafana_stand_in import StandIn, serving

BOARD: dict[str, Any] = {"dashboard": {"uid": "fleet", "title": "Fleet", "version": 0}, "message": "first"}
SOURCE = {"name": "pg", "uid": "pg", "type": "grafana-postgresql-datasource", "access": "proxy"}
RULE = {
    "uid": "hot", "title": "hot", "condition": "A", "for": "300s", "noDataState": "OK", "execErrState": "Error",
    "orgID": 1, "folderUID": "gpu", "ruleGroup": "all",
    "data": [{"refId": "A", "datasourceUid": "pg", "model": {}, "relativeTimeRange": {"from": 600, "to": 0}}],
}  # fmt: skip
GROUP = "/api/v1/provisioning/folder/gpu/rule-groups/all"


@pytest.fixture
def grafana() -> Iterator[StandIn]:
    """An empty one."""
    with serving() as stand_in:
        yield stand_in


@pytest.fixture
def http(grafana: StandIn) -> Iterator[httpx.Client]:
    """An admin's client, with a folder."""
    headers = {"authorization": f"Bearer {grafana.token}"}
    with httpx.Client(base_url=grafana.url, headers=headers) as client:
        client.post("/api/folders", json={"uid": "gpu", "title": "GPU"})
        yield client


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/api/dashboards/db", {"dashboard": {"uid": "fleet"}}),
        ("POST", "/api/dashboards/db", BOARD | {"force": True}),
        ("POST", "/api/dashboards/db", {"dashboard": {"title": "Fleet", "uid": "no spaces"}}),
        ("POST", "/api/dashboards/db", {"dashboard": {"title": "Fleet", "panels": [{"type": "stat"}]}}),
        ("POST", "/api/folders", {"name": "GPU"}),
        ("POST", "/api/datasources", SOURCE | {"password": "secret"}),
        ("POST", "/api/datasources", {"name": "pg"}),
        ("PUT", GROUP, {"rules": [RULE | {"keepFiringFor": "5m"}]}),
        ("PUT", GROUP, {"rules": [{**RULE, "for": "five minutes"}]}),
        ("PUT", GROUP, {"interval": "60s", "rules": []}),
        ("DELETE", "/api/dashboards/uid/fleet", None),
        ("GET", "/api/org", None),
    ],
)
def test_what_is_not_documented_is_told(
    grafana: StandIn, http: httpx.Client, method: str, path: str, sent: dict[str, Any] | None
) -> None:
    """Fields that are missing, unknown or of another form, and paths that nobody should ask for."""
    assert http.request(method, path, json=sent).status_code in {400, 404}
    assert len(grafana.api.violations) == 1


def test_what_is_documented_is_taken(grafana: StandIn, http: httpx.Client) -> None:
    """And comes back with what Grafana fills in."""
    assert http.post("/api/datasources", json=SOURCE | {"secureJsonData": {"password": "x"}}).status_code == 200
    assert http.get("/api/datasources/uid/pg").json()["secureJsonFields"] == {"password": True}
    assert http.put(GROUP, json={"interval": 60, "rules": [RULE]}).status_code == 200
    (rule,) = http.get(GROUP).json()["rules"]
    assert (rule["for"], rule["provenance"], rule["data"][0]["model"]["intervalMs"]) == ("5m", "api", 1000)
    assert grafana.api.violations == []


def test_only_the_newest_version_can_be_saved_over(http: httpx.Client) -> None:
    """412 else, unless it is to be overwritten; each version is kept with its message."""
    assert http.post("/api/dashboards/db", json=BOARD).json()["version"] == 1
    refused = http.post("/api/dashboards/db", json=BOARD)
    assert (refused.status_code, refused.json()["status"]) == (412, "version-mismatch")
    newer = {**BOARD, "dashboard": BOARD["dashboard"] | {"version": 1}, "message": "second"}
    assert http.post("/api/dashboards/db", json=newer).json()["version"] == 2
    assert http.post("/api/dashboards/db", json=BOARD | {"overwrite": True}).json()["version"] == 3
    told = http.get("/api/dashboards/uid/fleet/versions").json()["versions"]
    assert [each["message"] for each in told] == ["first", "second", "first"]


def test_rights(grafana: StandIn, http: httpx.Client) -> None:
    """401 for whom it does not know, 403 with what is lacking."""
    assert http.get("/api/folders", headers={"authorization": "Bearer other"}).status_code == 401
    grafana.api.tokens["poor"] = ("sa-poor", {})
    told = http.post("/api/folders", json={"title": "x"}, headers={"authorization": "Bearer poor"})
    assert told.status_code == 403 and told.json()["message"].endswith("Permissions needed: folders:create")


@pytest.mark.parametrize(("before", "there"), [(True, 0), (False, 1)])
def test_a_cut(grafana: StandIn, http: httpx.Client, before: bool, there: int) -> None:
    """The connection is reset in the middle of the answer, before or after the board was saved."""
    grafana.faults.cut_at, grafana.faults.before = grafana.faults.asked + 1, before
    with pytest.raises(httpx.TransportError):
        http.post("/api/dashboards/db", json=BOARD)
    assert len(grafana.state.boards) == there
