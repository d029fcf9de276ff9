"""Who may do what, and how administrators change it."""

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from gpufleet_server import api
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from starlette.testclient import TestClient

from tests.server.api.ask import get, refused
from tests.server.fleet import NOW, SECOND

As = Callable[[TokenKind], TestClient]


@pytest.fixture
def asking(app: FastAPI, store: Store) -> As:
    """Asks with a token of a kind."""

    def client(kind: TokenKind) -> TestClient:
        with store.writing() as connection:
            _, text = tokens.create(connection, kind, f"a {kind}", now=NOW)
        return TestClient(app, headers={"authorization": f"Bearer {text}"})

    return client


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer gpf_reader_" + "x" * 43, "Basic YTpi", "Bearer \t"])
def test_without_a_good_token(app: FastAPI, header: str) -> None:
    """401, and the scheme that is wanted; the document alone is for everyone."""
    client = TestClient(app)
    if header:
        client.headers["authorization"] = header
    for path in ("/summary", "/gpus/GPU-1", "/tokens", "/gpus?limit=x"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize("kind", [TokenKind.JOIN, TokenKind.NODE])
def test_agents_may_not_read(asking: As, kind: TokenKind) -> None:
    """Tokens of agents are for reporting only."""
    assert kind.value in refused(asking(kind), "/summary", 403)["detail"]


def test_readers_may_not_see_tokens(asking: As) -> None:
    """Nor make or revoke one."""
    reader = asking(TokenKind.READER)
    refused(reader, "/tokens", 403)
    assert reader.post("/tokens", json={"kind": "admin", "name": "me"}).status_code == 403
    assert reader.delete("/tokens/1").status_code == 403


def test_the_life_of_a_token(asking: As, app: FastAPI, store: Store) -> None:
    """Made, shown once, used, listed without its text, revoked: at once."""
    admin = asking(TokenKind.ADMIN)
    made = admin.post("/tokens", json={"kind": "reader", "name": "grafana", "expires_in": 60})
    assert made.status_code == 201
    found = made.json()
    assert found["expires_at"] == "2026-09-21T14:14:20.000000Z"
    headers = {"authorization": f"Bearer {found['token']}"}
    assert TestClient(app, headers=headers).get("/summary").status_code == 200
    listing = admin.get("/tokens")
    assert found["token"] not in listing.text
    (listed,) = (item for item in listing.json()["items"] if item["id"] == found["id"])
    assert (listed["kind"], listed["name"], listed["revoked_at"]) == ("reader", "grafana", None)
    assert admin.delete(f"/tokens/{found['id']}").status_code == 204
    assert admin.delete(f"/tokens/{found['id']}").status_code == 404
    assert TestClient(app, headers=headers).get("/summary").status_code == 401
    fresh = TestClient(api.build(store, tokens.TokenCache(store, lambda: NOW), now=lambda: NOW), headers=headers)
    assert fresh.get("/summary").status_code == 401


def test_a_token_expires(asking: As, store: Store) -> None:
    """From its time on it is as good as none."""
    text = asking(TokenKind.ADMIN).post("/tokens", json={"kind": "reader", "name": "r", "expires_in": 60}).json()
    for age, status in ((59, 200), (60, 401)):
        then = NOW + age * SECOND
        cache = tokens.TokenCache(store, lambda then=then: then)  # type: ignore[misc]
        client = TestClient(api.build(store, cache), headers={"authorization": f"Bearer {text['token']}"})
        assert client.get("/summary").status_code == status


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "node", "name": "n"}, "body.kind"),
        ({"kind": "reader"}, "body.name"),
        ({"kind": "reader", "name": ""}, "body.name"),
        ({"kind": "reader", "name": "a\0b"}, "body.name"),
        ({"kind": "reader", "name": "n", "expires_in": 0}, "body.expires_in"),
        ({"kind": "reader", "name": "n", "expires_in": 1e300}, "body.expires_in"),
        ({"kind": "reader", "name": "n", "expires": 5}, "body.expires"),
    ],
)
def test_tokens_that_cannot_be(asking: As, body: dict[str, object], field: str) -> None:
    """The field at fault is named, and no token is made."""
    admin = asking(TokenKind.ADMIN)
    answer = admin.post("/tokens", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert len(get(admin, "/tokens")["items"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"\xff\xfe", 400, "not JSON"),
        (b'{"kind": "reader", ', 400, "at 19"),
        (b"[" * 20_000, 400, "not JSON"),
        (b'{"kind": "reader", "name": "' + b"x" * 100_000 + b'"}', 413, "larger than 65536 bytes"),
        (b"[]", 422, "dictionary"),
        (b'{"kind": "reader", "name": "n", "expires_in": NaN}', 422, "finite"),
        (b'{"kind": "reader", "name": "\\ud800"}', 422, "unicode"),
    ],
)
def test_bodies_that_are_none(asking: As, app: FastAPI, body: bytes, status: int, said: str) -> None:
    """What is wrong with a body is told, with or without a good token, and no token is made."""
    admin = asking(TokenKind.ADMIN)
    before = len(get(admin, "/tokens")["items"])
    headers = {"content-type": "application/json"}
    answer = admin.post("/tokens", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]
    assert answer.json()["field"].startswith("body")
    assert 400 <= TestClient(app).post("/tokens", content=body, headers=headers).status_code < 500
    assert len(get(admin, "/tokens")["items"]) == before


def test_a_body_without_a_length_is_bounded(asking: As) -> None:
    """However it comes, no more of it is kept in memory."""
    admin = asking(TokenKind.ADMIN)
    answer = admin.post("/tokens", content=iter([b"x" * 40_000] * 3), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (413, "body")
