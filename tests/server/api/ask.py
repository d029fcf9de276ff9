"""Asking the API, and refusing to go on where it answers otherwise than expected."""

from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

Json = dict[str, Any]


def get(client: TestClient, path: str, **params: Any) -> Json:
    """The JSON of an answer that must be 200."""
    answer = client.get(path, params=params or None)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def refused(client: TestClient, path: str, status: int = 422, **params: Any) -> Json:
    """The problem of an answer that must be one, and of this status."""
    answer = client.get(path, params=params or None)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    found: Json = answer.json()
    assert found["status"] == status
    return found


def pages(client: TestClient, path: str, **params: Any) -> Iterator[Json]:
    """Each page of a listing."""
    while True:
        page = get(client, path, **params)
        yield page
        if page["next"] is None:
            return
        params["cursor"] = page["next"]


def items(client: TestClient, path: str, **params: Any) -> list[Json]:
    """All of a listing."""
    return [item for page in pages(client, path, **params) for item in page["items"]]
