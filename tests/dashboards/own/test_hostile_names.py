"""Sites and models that are called like Grafana's macros change no board: what is chosen is shown, and nothing else."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.sql import WITH_DOLLAR
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from gpufleet_server.store.reader import Reader, grant
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import fleet_groups

from tests import postgres
from tests.dashboards.fleet.boards import RANGES, Viewer
from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.own.rows import MINUTE, Made, made

SITES = ("a$__timeFrom()b", "$nothing(x", "$__all", "it's $__interval")
MODEL = "H100 $__unixEpochTo()"


def _hostile(found: Made) -> Made:
    """The same nodes, those of the west at four sites, their GPUs of another model."""
    western = [each for each in found.of(nodes) if each["site"] == "west"]
    for each, site in zip(western, SITES, strict=True):
        each["site"] = site
    names = {each["node_id"]: each["site"] for each in western}
    for each in found.of(gpus):
        if each["node_id"] in names:
            each |= {"model": MODEL, "uuid": f"$nothing({each['gpu_id']})"}
    for rows in found.tables.values():
        for each in rows:
            if each.get("site") == "west":
                each["site"] = names[each["node_id"]] if "node_id" in each else SITES[0]
    of_sites = [{"site": site, "model": MODEL, "simulated": False, "state": "reporting"} for site in SITES[1:]]
    found.of(fleet_groups).extend(of_sites)
    return found


@pytest.fixture(scope="module")
def connection(postgres_server: str) -> Iterator[psycopg.Connection[Any]]:
    """The store as the reader has it."""
    name = f"hostile_{secrets.token_hex(4)}"
    url = postgres.create_database(postgres_server, name)
    store = Store.open(url)
    try:
        migrate(store)
        _hostile(made(time.time_ns() // 1000 // MINUTE * MINUTE)).into(store)
        grant(store, Reader(name), "secret")
    finally:
        store.close()
    with psycopg.connect(url, user=name, password="secret", autocommit=True) as found:
        yield found
    postgres.drop_database(postgres_server, name)


def _viewer(connection: psycopg.Connection[Any], board: str, *sites: str) -> Viewer:
    end = time.time_ns() // 1_000_000
    viewer = Viewer(connection, board, Range(end - RANGES["24h"], end))
    menus = viewer.choose(None)
    offered = {row[1] for menu in menus for row in menu.rows}
    assert not any("$" in value for value in offered)
    if sites:
        options = sorted(row[1] for row in menus[0].rows)
        viewer.choose(len(sites), options.index(sites[0]))
    return viewer


@pytest.mark.parametrize("board", every_board())
def test_no_panel_breaks(connection: psycopg.Connection[Any], board: str) -> None:
    """Of all sites and of those alone every query is one that Grafana can expand and PostgreSQL runs."""
    assert list(_viewer(connection, board).ask())
    if board != "alerts":
        assert list(_viewer(connection, board, WITH_DOLLAR).ask())


@pytest.mark.parametrize(("sites", "count"), [((), 8), (("east",), 4), ((WITH_DOLLAR,), 4)])
def test_all_is_told_of(connection: psycopg.Connection[Any], sites: tuple[str, ...], count: int) -> None:
    """All nodes among all sites; those of such names together, and none of them elsewhere."""
    (agents,) = _viewer(connection, "gpufleet", *sites).panel("Agents, of the chosen sites").rows
    assert agents[0] == count
    shown = {row[6] for row in _viewer(connection, "fleet", *sites).panel("Silent nodes").rows}
    assert shown <= {f"node-uuid-{number}" for number in range(1, 9)}


def test_a_link_leads_to_what_is_offered(connection: psycopg.Connection[Any]) -> None:
    """A row of such a site names its choice, while the name itself is shown as it is."""
    asked = _viewer(connection, "fleet").panel("Open alerts")
    names = [name for name, _ in asked.columns]
    assert {row[names.index("site")] for row in asked.rows} & set(SITES)
