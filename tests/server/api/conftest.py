"""A store, a fleet, and the API over them at NOW, asked with a reader's token."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from gpufleet_server import api
from gpufleet_server.api.context import Context
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from starlette.testclient import TestClient

from tests.server.fixtures import embedded_store, fleet, new_sqlite
from tests.server.fleet import NOW

__all__ = ["embedded_store", "fleet", "new_sqlite"]


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """The API over nothing yet: its first answer takes longer than most tests."""
    nothing = Store.open(f"sqlite:///{tmp_path_factory.mktemp('nothing')}/fleet.db")
    yield api.build(nothing, tokens.TokenCache(nothing))
    nothing.close()


@pytest.fixture
def app(routes: FastAPI, store: Store) -> FastAPI:
    """The API, for which it is always NOW."""
    routes.state.context = Context(store, tokens.TokenCache(store, lambda: NOW), lambda: NOW)
    return routes


@pytest.fixture
def client(app: FastAPI, store: Store) -> Iterator[TestClient]:
    """Asks with a reader's token."""
    with store.writing() as connection:
        _, text = tokens.create(connection, TokenKind.READER, "tests", now=NOW)
    with TestClient(app, headers={"authorization": f"Bearer {text}"}) as asking:
        yield asking
