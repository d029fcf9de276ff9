"""The OpenAPI document tells what each parameter means."""

from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient

from tests.server.api.ask import get


def _parameters(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                yield f"{method} {path} {parameter['name']}", parameter


def test_every_parameter_is_described(client: TestClient) -> None:
    """In words, whatever its name seems to say."""
    parameters = dict(_parameters(get(client, "/openapi.json")))
    assert len(parameters) > 40
    silent = [name for name, each in parameters.items() if not (each.get("description") or "").strip()]
    assert silent == []


def test_lengths_and_metrics_have_an_example(client: TestClient) -> None:
    """What is written in a way of its own."""
    parameters = dict(_parameters(get(client, "/openapi.json")))
    wanted = [each for name, each in parameters.items() if name.split()[-1] in ("step", "metric", "start", "since")]
    assert wanted
    assert all(each.get("examples") or each["schema"].get("examples") for each in wanted)
