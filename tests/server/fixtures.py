"""A store, empty and migrated, on each engine or on SQLite alone, and a fleet to fill it."""

import secrets
import shutil
from collections.abc import Callable, Iterator

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate

from tests import postgres
from tests.server.fleet import Fleet

ENGINES = ("sqlite", "postgresql")
NewDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def new_sqlite(tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Makes migrated SQLite files, and tells their URLs."""
    # Once for all tests: to migrate takes longer than most of them.
    migrated = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    _migrate(f"sqlite:///{migrated}")

    def made() -> str:
        return f"sqlite:///{shutil.copyfile(migrated, tmp_path_factory.mktemp('store') / 'fleet.db')}"

    return made


@pytest.fixture(scope="session")
def new_postgresql(postgres_server: str) -> Iterator[NewDatabase]:
    """Makes migrated PostgreSQL databases, and tells their URLs."""
    run, made = secrets.token_hex(4), list[str]()
    template = f"template_{run}"
    _migrate(postgres.create_database(postgres_server, template))

    def make() -> str:
        made.append(f"test_{run}_{len(made)}")
        return postgres.create_database(postgres_server, made[-1], template)

    yield make
    for name in (template, *made):
        postgres.drop_database(postgres_server, name)


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database, of each engine in turn."""
    make: NewDatabase = request.getfixturevalue(f"new_{request.param}")
    return make()


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """A migrated store, of each engine in turn."""
    yield from _opened(database)


@pytest.fixture
def postgresql(new_postgresql: NewDatabase) -> Iterator[Store]:
    """A migrated store on PostgreSQL, for what only that has."""
    yield from _opened(new_postgresql())


@pytest.fixture(name="store")
def embedded_store(new_sqlite: NewDatabase) -> Iterator[Store]:
    """A migrated store on SQLite, for tests to which the engine makes no difference."""
    yield from _opened(new_sqlite())


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """Fills that store."""
    return Fleet(store)


def _opened(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    yield opened
    opened.close()


def _migrate(url: str) -> None:
    opened = Store.open(url)
    migrate(opened)
    # The last connection to go writes SQLite's log back into the file, and leaves PostgreSQL's template to others.
    opened.close()
