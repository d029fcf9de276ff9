"""What all routes share: problems, HEAD, no caching, and a document that is right."""

from typing import Any

import pytest
from gpufleet_agent.catalogue import METRICS
from gpufleet_server import api
from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from sqlalchemy import text
from starlette.testclient import TestClient

from tests.server.api.ask import get, refused
from tests.server.fleet import NOW

PATHS = ["/summary", "/nodes", "/gpus", "/events", "/metrics"]


@pytest.mark.parametrize(
    ("path", "field", "said"),
    [
        ("/gpus?limit=5000", "query.limit", "'5000'"),
        ("/gpus?limit=NaN", "query.limit", "'NaN'"),
        ("/nodes?simulated=1", "query.simulated", "neither true nor false"),
        ("/alerts?held=yes", "query.held", "neither true nor false"),
        ("/gpus?limt=5", "query.limt", "no such parameter"),
        ("/summary?limit=5", "query.limit", "no such parameter"),
        ("/metrics?x=", "query.x", "no such parameter"),
        ("/gpus/GPU-1?full=1", "query.full", "no such parameter"),
        ("/gpus?state=busy", "query.state.0", "'reporting', 'in_maintenance', 'lost'"),
        ("/gpus?sort=powr", "query.sort", "near it: power; there are site, state, hostname"),
        ("/gpus/GPU-1/samples?metrics=powr", "query.metrics.0", "power_limit"),
        ("/gpus?cursor=abc", "query.cursor", "'abc'"),
        ("/gpus?site=%00", "query.site.0", ""),
        ("/gpus?site=", "query.site.0", ""),
        ("/events?after=99999999999999999999", "query.after", ""),
        ("/events?code=-1", "query.code.0", ""),
        ("/nodes?simulated=perhaps", "query.simulated", "'perhaps'"),
    ],
)
def test_the_field_and_the_value_are_named(client: TestClient, path: str, field: str, said: str) -> None:
    """An operator sees at once what was mistyped."""
    problem = refused(client, path)
    assert problem["field"] == field
    assert said in problem["detail"]


def test_every_mistake_is_told(client: TestClient) -> None:
    """Not one at a time."""
    detail = refused(client, "/gpus?limit=0&sort=x&colour=red")["detail"]
    assert all(name in detail for name in ("query.limit", "query.sort", "query.colour"))


def test_what_is_not_there(client: TestClient) -> None:
    """Unknown paths and methods are problems too."""
    refused(client, "/nothing", 404)
    refused(client, "/gpus/", 404)
    answer = client.put("/gpus")
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert answer.json()["detail"] == "PUT is not possible here"


@pytest.mark.parametrize("path", [*PATHS, "/openapi.json"])
def test_head_is_get_without_a_body(client: TestClient, path: str) -> None:
    """Same status and headers; caches keep neither."""
    head, answer = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]
    assert head.headers["cache-control"] == answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
def test_an_empty_store_is_no_error(client: TestClient, path: str) -> None:
    """A server on its first day answers."""
    assert get(client, path)


def test_a_store_that_does_not_answer(client: TestClient, store: Store) -> None:
    """503 and when to ask again, never a traceback."""
    with store.writing() as connection:
        connection.execute(text("DROP TABLE latest"))
    answer = client.get("/gpus")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "latest" in answer.json()["detail"]


def test_a_crash_tells_nothing_away(store: Store) -> None:
    """A mistake of ours is a 500 problem without its insides."""

    def broken() -> int:
        raise RuntimeError("secret")

    with store.writing() as connection:
        _, reader = tokens.create(connection, TokenKind.READER, "r", now=NOW)
    app = api.build(store, tokens.TokenCache(store, lambda: NOW), now=broken)
    client = TestClient(app, raise_server_exceptions=False, headers={"authorization": f"Bearer {reader}"})
    answer = client.get("/summary")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    """The OpenAPI document."""
    return get(client, "/openapi.json")


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """Security, problems with their media type, and a description wherever a client needs one."""
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["security"] == [{"token": []}], (path, method)
            assert operation["description"]
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
            assert {"401", "403", "422", "500", "503"} <= operation["responses"].keys()
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_operations_have_short_and_distinct_ids(document: dict[str, Any]) -> None:
    """Generated clients get readable names."""
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))
    assert len(max(ids, key=len)) <= 32, max(ids, key=len)
    assert all(name.isidentifier() for name in ids)


def test_words_are_enumerated(document: dict[str, Any]) -> None:
    """States, metrics and orders are in the document, from where they are defined."""
    schemas = document["components"]["schemas"]
    assert schemas["GpuState"]["enum"] == list(GpuState)
    assert schemas["NodeState"]["enum"] == list(NodeState)
    parameters = {one["name"]: one for one in document["paths"]["/gpus/{id}/samples"]["get"]["parameters"]}
    assert parameters["metrics"]["schema"]["items"]["enum"] == [metric.name for metric in METRICS]
    gpu = schemas["GpuAnswer"]
    assert {"vbios_version", "metrics", "absent"} <= set(gpu["required"])
