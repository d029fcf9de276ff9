"""A store, a fleet, and the API over them at NOW, asked with a reader's token."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from gpufleet_server import api
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from starlette.testclient import TestClient

from tests.server.fixtures import fleet, store
from tests.server.fleet import NOW

__all__ = ["fleet", "store"]


@pytest.fixture
def app(store: Store) -> FastAPI:
    """The API, for which it is always NOW."""
    return api.build(store, tokens.TokenCache(store, lambda: NOW), now=lambda: NOW)


@pytest.fixture
def client(app: FastAPI, store: Store) -> Iterator[TestClient]:
    """Asks with a reader's token."""
    with store.writing() as connection:
        _, text = tokens.create(connection, TokenKind.READER, "tests", now=NOW)
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as asking:
        yield asking
