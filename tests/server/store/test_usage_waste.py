"""The workloads that held most: of each hour and day, found anew where something came late."""

from typing import Any

import pytest
from gpufleet_server.store import usage_waste
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import DAY, HOUR, due
from gpufleet_server.store.usage import usage_waste_days, usage_waste_hours
from gpufleet_server.store.usage_days import add_up_days
from gpufleet_server.store.usage_waste import find_worst, owe_worst
from sqlalchemy import Table, func, select

from tests.server.fleet import Fleet
from tests.server.used import MIDNIGHT, Used

_MINUTE = HOUR // 60
_NOW = MIDNIGHT + 2 * HOUR + 30 * _MINUTE


def _found(store: Store, table: Table, *names: str) -> list[Any]:
    """Hours or days after MIDNIGHT, who, and these columns; the worst first."""
    length = DAY if table is usage_waste_days else HOUR
    query = select(table).order_by(table.c.at, table.c.held.desc(), table.c.holder_id, table.c.model)
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return [((row.at - MIDNIGHT) // length, row.name, *(getattr(row, name) for name in names)) for row in rows]


def test_who_held_most_is_found_by_the_hour_and_the_day(store: Store, fleet: Fleet) -> None:
    """In proportion where an hour cuts intervals; on how many GPUs and nodes; by place; no others."""
    used, alpha, beta = Used(store), fleet.node("alpha", site="east"), fleet.node("beta", site="east")
    for node_id in (alpha, beta):
        for slot in range(2):
            fleet.gpu(node_id, f"GPU-{node_id}-{slot}", model="H100" if slot else "A100")
    job = used.holder(alpha, "slurm", job="1", user="alice")
    pod, busy = used.holder(alpha, "kubernetes", pod="p", namespace="ml"), used.holder(beta, "unit", unit="u.service")
    begin, end = MIDNIGHT + HOUR + 30 * _MINUTE, MIDNIGHT + 2 * HOUR + 30 * _MINUTE
    for node_id in (alpha, beta):
        used.interval(node_id, 0, job, begin, end, active=25)
    used.interval(alpha, 1, job, begin, end, active=50)
    used.interval(beta, 1, pod, MIDNIGHT + 2 * HOUR, MIDNIGHT + 2 * HOUR + _MINUTE)
    used.interval(beta, 1, busy, begin, end, active=100)
    assert find_worst(store, _NOW) == 3
    columns = ("model", "gpus", "nodes", "observed", "active", "held")
    half, whole = 1_800_000, 3_600_000
    assert _found(store, usage_waste_hours, *columns) == [
        (1, "alice job 1", "A100", 2, 2, 2 * half, half // 2, 3 * half // 2),
        (1, "alice job 1", "H100", 1, 1, half, half // 2, half // 2),
        (2, "alice job 1", "A100", 2, 2, 2 * half, half // 2, 3 * half // 2),
        (2, "alice job 1", "H100", 1, 1, half, half // 2, half // 2),
        (2, "ml/p", "H100", 1, 1, 60_000, 0, 60_000),
    ]
    assert _found(store, usage_waste_days, *columns) == [
        (0, "alice job 1", "A100", 2, 2, 2 * whole, whole // 2, 3 * whole // 2),
        (0, "alice job 1", "H100", 1, 1, whole, whole // 2, whole // 2),
        (0, "ml/p", "H100", 1, 1, 60_000, 0, 60_000),
    ]


def test_the_worst_of_the_fleet_and_of_each_site(store: Store, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than so many; a site whose workloads are all small has its own; simulated nodes push nobody out."""
    monkeypatch.setattr(usage_waste, "OF_FLEET", 2)
    monkeypatch.setattr(usage_waste, "OF_SITE", 1)
    used = Used(store)
    held = {"east": (50, 40, 30), "west": (20, 10), "sim": (59,)}
    for site, minutes in held.items():
        node_id = fleet.node(site, site=site, simulated=site == "sim")
        for slot, length in enumerate(minutes):
            fleet.gpu(node_id, f"GPU-{site}-{slot}")
            holder_id = used.holder(node_id, "unit", unit=f"{site}-{length}")
            used.interval(node_id, slot, holder_id, MIDNIGHT, MIDNIGHT + length * _MINUTE)
    find_worst(store, MIDNIGHT + HOUR - 1)
    expected = [(0, name) for name in ("sim-59", "east-50", "east-40", "west-20")]
    assert _found(store, usage_waste_hours) == _found(store, usage_waste_days) == expected


def test_a_day_that_is_over_is_found_anew_with_its_hours(store: Store, fleet: Fleet) -> None:
    """However it came to be: what stays is what one finds who has known all intervals from the beginning."""
    used, node_id = Used(store), fleet.node("alpha")
    fleet.gpu(node_id, "GPU-1")
    holder_id = used.holder(node_id, "unit", unit="u")
    used.interval(node_id, 0, holder_id, MIDNIGHT, MIDNIGHT + HOUR)
    find_worst(store, MIDNIGHT + HOUR)
    used.interval(node_id, 0, holder_id, MIDNIGHT + 5 * HOUR, MIDNIGHT + 7 * HOUR, active=50)
    assert find_worst(store, MIDNIGHT + 2 * DAY) == 4
    assert _found(store, usage_waste_hours, "held") == [(0, "u", 3_600_000)]
    add_up_days(store, MIDNIGHT + 2 * DAY)
    assert find_worst(store, MIDNIGHT + 2 * DAY) == 4 + 1 + 24
    expected = [(0, "u", 3_600_000), (5, "u", 1_800_000), (6, "u", 1_800_000)]
    assert _found(store, usage_waste_hours, "held") == expected
    assert _found(store, usage_waste_days, "held") == [(0, "u", 7_200_000)]
    assert find_worst(store, MIDNIGHT + 2 * DAY) == 4


def test_it_goes_on_where_it_ended(store: Store) -> None:
    """Each hour and day is a transaction; what was not done stays due; what is too old to be found is due no more."""
    with store.writing() as connection:
        owe_worst(connection, MIDNIGHT)
        owe_worst(connection, MIDNIGHT - DAY)
    turns = iter([True] * 10 + [False])
    assert find_worst(store, MIDNIGHT + 5 * DAY, lambda: next(turns), since=MIDNIGHT) == 10
    assert find_worst(store, MIDNIGHT + 5 * DAY, since=MIDNIGHT) == 4 + 25 - 6
    with store.reading() as connection:
        assert connection.execute(select(func.count()).select_from(due)).scalar() == 0
