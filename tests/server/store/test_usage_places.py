"""Places of usage: numbered once, whoever asks first; days and hours of an earlier revision keep theirs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate, upgrade
from gpufleet_server.store.usage import usage_fleet, usage_fleet_hours, usage_places
from gpufleet_server.store.usage_places import add_places, place_ids
from sqlalchemy import MetaData, Table, insert, select

from tests.server.fleet import Fleet

_SUMS = dict.fromkeys(
    ("observed", "active", "held", "memory_sum", "memory_ms", "activity_sum", "activity_ms", "memory_most"), 5
)


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of the revision before, on each engine."""
    url = f"sqlite:///{tmp_path}/older.db"
    opened = Store.open(request.getfixturevalue("postgres_database") if request.param == "postgresql" else url)
    with opened.writing() as connection:
        upgrade(connection, "0007")
    yield opened
    opened.close()


def test_places_are_numbered_once(store: Store, fleet: Fleet) -> None:
    """Those that come of pieces and those of all GPUs are the same."""
    fleet.gpu(fleet.node("alpha", site="east"), "GPU-1", model="H100")
    fleet.gpu(fleet.node("beta", simulated=True), "GPU-2")
    with store.writing() as connection:
        first = place_ids(connection, [("east", "H100", False), ("east", "H100", False)])
        for _ in range(2):
            add_places(connection)
        every = place_ids(connection, [("", "", True), ("west", "", False)])
    assert set(every) == {("east", "H100", False), ("", "", True), ("west", "", False)}
    assert first.items() <= every.items()
    assert len(set(every.values())) == 3


def test_days_and_hours_keep_their_places(older: Store) -> None:
    """Also where there is a view of them already, as there is on PostgreSQL."""
    places = [("east", "H100", False), ("", "", True)]
    with older.writing() as connection:
        for name, at, rest in (("usage_fleet", "day", {"first": 1, "last": 2}), ("usage_fleet_hours", "hour", {})):
            table = Table(name, MetaData(), autoload_with=connection)
            for owner_id, (site, model, simulated) in enumerate(places):
                key: dict[str, Any] = {at: 7, "owner_id": owner_id, "site": site, "model": model}
                connection.execute(insert(table).values(key | {"simulated": simulated} | _SUMS | rest))
        if older.dialect == "postgresql":
            for statement in (
                "CREATE SCHEMA grafana",
                "CREATE VIEW grafana.usage_days AS SELECT site FROM usage_fleet",
            ):
                connection.exec_driver_sql(statement)
    migrate(older)
    for table in (usage_fleet, usage_fleet_hours):
        joined = select(table, usage_places).join(usage_places, usage_places.c.place_id == table.c.place_id)
        with older.reading() as connection:
            rows = connection.execute(joined.order_by(table.c.owner_id)).all()
        assert [(row.owner_id, row.site, row.model, row.simulated) for row in rows] == [
            (owner_id, *place) for owner_id, place in enumerate(places)
        ]
        assert {(row.held, row.memory_sum, row.memory_most) for row in rows} == {(5, 5, 5)}
