"""A store of before dashboards: what they ask of it comes along."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import roll_hours
from gpufleet_server.store.migrate import migrate, upgrade
from gpufleet_server.store.schema import events, gpus, nodes
from gpufleet_server.store.server_minutes import COUNTED, add_up_hour, server_hours
from gpufleet_server.store.tiers import HOUR, MINUTE, SIX_HOURS, fleet_six_hours, fleet_ten_minutes
from gpufleet_server.store.usage import SUMMED, usage_kind_days, usage_kind_hours, usage_places
from sqlalchemy import Connection, MetaData, Table, delete, select, text

from tests.server.fleet import NOW

_BEGIN = NOW // HOUR * HOUR
_HOST = {"driver_version": "570.1", "cuda_version": "12.4", "kernel": "6.1.0 'odd'", "os": "Debian 12"}
_GPU = {
    "vbios_version": "96.00", "inforom_image_version": "G520", "gsp_firmware_version": "570.1",
    "board_part_number": "900-21010",
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of revision 0005 with two nodes, a GPU each, and minutes of two hours."""
    database = f"sqlite:///{tmp_path}/before.db"
    opened = Store.open(request.getfixturevalue("postgres_database") if request.param == "postgresql" else database)
    with opened.writing() as connection:
        upgrade(connection, "0005")
        tables = MetaData()
        tables.reflect(connection, only=["nodes", "gpus", "fleet_minutes"])
        for number, (host, gpu) in enumerate((({"hostname": "a"} | _HOST, _GPU), ({"hostname": "b"}, {})), 1):
            row = {
                "node_id": number, "uuid": f"node-{number}", "hostname": host["hostname"], "simulated": False,
                "interval_ms": 1000, "driver_state": "ok", "driver_since": 1, "facts": host, "first_seen": 1,
                "last_seen": 1, "driver_detail": "", "clock_offset": 0, "clock_measured": 0, "backlog_reports": 0,
                "backlog_bytes": 0, "backlog_dropped": 0, "roster_digest": "", "version": 0,
            }  # fmt: skip
            _add(connection, tables.tables["nodes"], row)
            of_gpu = {"gpu_id": number, "node_id": number, "slot": 0, "uuid": f"GPU-{number}", "lost": False}
            _add(connection, tables.tables["gpus"], of_gpu | {"identity": {"uuid": "x"} | gpu, "first_seen": 1})
        for ago in (0, 5, 15, 70):
            row = {"group_id": 1, "ts": _BEGIN - ago * MINUTE, "observed": 1000 + ago}
            _add(connection, tables.tables["fleet_minutes"], row)
    yield opened
    opened.close()


def _add(connection: Connection, table: Table, row: dict[str, object]) -> None:
    connection.execute(table.insert().values(row))


def test_versions_become_columns(before: Store) -> None:
    """From what nodes and GPUs said of themselves; what they did not say is NULL."""
    migrate(before)
    with before.reading() as connection:
        hosts = connection.execute(select(*(nodes.c[name] for name in _HOST)).order_by(nodes.c.node_id)).all()
        boards = connection.execute(select(*(gpus.c[name] for name in _GPU)).order_by(gpus.c.gpu_id)).all()
    assert [tuple(row) for row in hosts] == [tuple(_HOST.values()), (None,) * len(_HOST)]
    assert [tuple(row) for row in boards] == [tuple(_GPU.values()), (None,) * len(_GPU)]


def test_ten_minutes_are_made_of_the_minutes_that_there_are(before: Store) -> None:
    """By the first rollups after that, however old they are."""
    migrate(before)
    roll_hours(before, _BEGIN + 30 * HOUR)
    with before.reading() as connection:
        query = select(fleet_ten_minutes.c.ts, fleet_ten_minutes.c.observed).order_by(fleet_ten_minutes.c.ts)
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [(_BEGIN - 70 * MINUTE, 1070), (_BEGIN - 10 * MINUTE, 1015), (_BEGIN, 2005)]


def test_six_hours_are_made_of_the_hours_that_there_are(before: Store) -> None:
    """By the first rollups after that, also where their minutes are gone."""
    begin = _BEGIN // SIX_HOURS * SIX_HOURS
    with before.writing() as connection:
        upgrade(connection, "0011")
        tables = MetaData()
        tables.reflect(connection, only=["fleet_minutes", "fleet_hours"])
        connection.execute(tables.tables["fleet_minutes"].delete())
        for end in (begin - 3 * HOUR, begin, begin + HOUR):
            _add(connection, tables.tables["fleet_hours"], {"group_id": 1, "ts": end, "observed": 1000})
    migrate(before)
    roll_hours(before, begin + 30 * HOUR)
    with before.reading() as connection:
        query = select(fleet_six_hours.c.ts, fleet_six_hours.c.observed).order_by(fleet_six_hours.c.ts)
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [(begin, 2000), (begin + SIX_HOURS, 1000)]


def test_events_of_before_have_places(before: Store) -> None:
    """Where their node is now, and of their GPU's model."""
    with before.writing() as connection:
        tables = MetaData()
        tables.reflect(connection, only=["nodes", "gpus", "events"])
        connection.execute(tables.tables["nodes"].update().where(text("node_id = 1")).values(site="east"))
        connection.execute(tables.tables["gpus"].update().where(text("gpu_id = 1")).values(model="H100"))
        for node_id, gpu_id in ((1, 1), (1, None), (2, 2)):
            row = {"node_id": node_id, "gpu_id": gpu_id, "ts": 1, "received_at": 1, "kind": "xid", "source": "nvml"}
            _add(connection, tables.tables["events"], row | {"message": "", "detail": {}})
    migrate(before)
    c = usage_places.c
    query = select(c.site, c.model).join_from(events, usage_places, events.c.place_id == c.place_id)
    with before.reading() as connection:
        found = [tuple(row) for row in connection.execute(query.order_by(events.c.event_id))]
    assert found == [("east", "H100"), ("east", ""), ("", "")]


def test_what_kinds_of_owners_had_is_added_up(before: Store) -> None:
    """Of all hours and days that there are."""
    sums: dict[str, object] = {**dict.fromkeys(SUMMED, 0), "observed": 5, "active": 3, "held": 2, "memory_most": -1}
    with before.writing() as connection:
        upgrade(connection, "0010")
        tables = MetaData()
        tables.reflect(connection, only=["owners", "usage_fleet", "usage_fleet_hours"])
        for owner_id, user in ((1, "ada"), (2, "bob")):
            owner: dict[str, object] = dict.fromkeys(("account", "slurm_partition", "namespace"), "")
            _add(connection, tables.tables["owners"], owner | {"owner_id": owner_id, "kind": "slurm", "user": user})
        for owner_id in (1, 2, 3):
            row = sums | {"owner_id": owner_id, "place_id": 1}
            _add(connection, tables.tables["usage_fleet"], row | {"day": 0, "first": 0, "last": 1})
            _add(connection, tables.tables["usage_fleet_hours"], row | {"hour": HOUR})
    migrate(before)
    with before.reading() as connection:
        for table, at in ((usage_kind_days, 0), (usage_kind_hours, HOUR)):
            found = connection.execute(select(table).order_by(table.c.kind)).all()
            assert [tuple(row) for row in found] == [(at, "slurm", 1, 10, 6, 4), (at, "unknown", 1, 5, 3, 2)]


def test_servers_have_their_hours(before: Store) -> None:
    """Added up of their minutes as servers do that themselves."""
    counts = dict.fromkeys(
        (*COUNTED, "stored", "duplicate", "refused_credentials", "refused_content", "turned_away", "too_late"), 3
    )
    with before.writing() as connection:
        upgrade(connection, "0011")
        tables = MetaData()
        tables.reflect(connection, only=["server_minutes"])
        for place in range(4):
            row: dict[str, object] = {"server": "a", "at": _BEGIN + 20 * place * MINUTE, "covered": 60_000, **counts}
            row |= {"commits": place, "commit_mean": 0.1 * place or None, "waited_mean": 0.5, "commit_max": None}
            row |= {"queued_reports": place, "queued_bytes": 0, "elected": False, "sealing_overdue": None}
            _add(connection, tables.tables["server_minutes"], row | {"upkeep": 0.0, "upkeep_cpu": 0.0, "cpu": 1.5})
    migrate(before)
    query = select(server_hours).order_by(server_hours.c.at)
    with before.writing() as connection:
        found = connection.execute(query).all()
        connection.execute(delete(server_hours))
        for hour in (_BEGIN, _BEGIN + HOUR):
            add_up_hour(connection, "a", hour)
        assert connection.execute(query).all() == found
    assert [(row.at, row.stored, row.commits, row.cpu) for row in found] == [
        (_BEGIN, 9, 3, 4.5),
        (_BEGIN + HOUR, 3, 3, 1.5),
    ]
    assert found[0].commit_mean == pytest.approx((0.1 + 0.4) / 3)
