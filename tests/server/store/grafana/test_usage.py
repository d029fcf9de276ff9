"""Who used the GPUs, as boards read it: held against what was put in."""

import datetime
import json
import re
from typing import Any

import pytest
from gpufleet_server.domain.usage import DAY
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import fold
from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views import owners, usage, usage_days, usage_hours, waste_days, waste_hours
from gpufleet_server.store.usage import RECORD, holders, usage_recent
from gpufleet_server.store.usage_days import add_up_days
from gpufleet_server.store.usage_waste import find_worst
from sqlalchemy import insert, text, update

from tests.server.fleet import Fleet
from tests.server.used import HOUR, MIDNIGHT, Used

_GIB = 1 << 30


def _rows(store: Store, view: View, *names: str, order: str) -> list[tuple[Any, ...]]:
    with store.reading() as connection:
        return [
            tuple(row) for row in connection.execute(text(f"SELECT {', '.join(names)} FROM {view} ORDER BY {order}"))
        ]


@pytest.fixture
def used(postgresql: Store) -> Store:
    """Alice's job held a GPU for two hours and had it active for one; a node without site has memory of nobody's."""
    fleet, used = Fleet(postgresql), Used(postgresql)
    alpha, beta = fleet.node("alpha", site="east", rack="r1"), fleet.node("beta", simulated=True)
    fleet.gpu(alpha, "GPU-a", model="H100", position=3)
    fleet.gpu(beta, "GPU-b")
    job = used.holder(alpha, "slurm", job="7", user="alice", account="physics", command="python --secret")
    nobody = used.holder(beta, "nobody")
    hour, day = HOUR // 1000, MIDNIGHT
    held = RECORD.pack(job, day, day + 2 * HOUR, 2 * _GIB, 3 * _GIB, 2 * hour, 0, 2 * hour, 4, 0, -1, 0)
    active = RECORD.pack(job, day + 2 * HOUR, day + 3 * HOUR, 2 * _GIB, _GIB, hour, hour, 0, 2, 0, -1, 9000)
    of_nobody = RECORD.pack(nobody, day, day + HOUR, -1, -1, hour, 0, hour, 1, 0, 0, -1)
    with postgresql.writing() as connection:
        for node_id, piece in ((alpha, held), (alpha, active), (beta, of_nobody)):
            row = {"node_id": node_id, "received_at": MIDNIGHT, "pieces": piece}
            connection.execute(insert(usage_recent).values(row | {"partitions": "MIG-1" if node_id == beta else None}))
    fold(postgresql, MIDNIGHT + DAY)
    add_up_days(postgresql, MIDNIGHT + 2 * DAY)
    find_worst(postgresql, MIDNIGHT + 2 * DAY)
    return postgresql


_WHO = ("site", "model", "simulated", "kind", "user_name", "account", "slurm_partition", "namespace")
_ALICE = ("east", "H100", False, "slurm", "alice", "physics", "(none)", "(none)")
_NOBODY = ("(none)", "(none)", True, "nobody", "(none)", "(none)", "(none)", "(none)")


def test_hours_and_days_of_owners(used: Store) -> None:
    """GPU-seconds, memory in byte-seconds, activity as a share; `(none)` where there is nothing; absent ones NULL."""
    sums = ("observed_seconds", "active_seconds", "held_seconds", "memory_sum", "memory_seconds", "memory_most")
    names = ("at", *_WHO, *sums, "activity_sum", "activity_seconds")
    hour = (3600.0, 0.0, 3600.0, 2.0 * _GIB * 3600, 3600.0, 3 * _GIB, 0.0, 3600.0)
    last = (3600.0, 3600.0, 0.0, 2.0 * _GIB * 3600, 3600.0, _GIB, 0.9 * 3600, 3600.0)
    nothing = (3600.0, 0.0, 3600.0, 0.0, 0.0, None, 0.0, 0.0)
    assert _rows(used, usage_hours.VIEW, *names, order="site, at") == [
        (MIDNIGHT, *_NOBODY, *nothing),
        (MIDNIGHT, *_ALICE, *hour),
        (MIDNIGHT + HOUR, *_ALICE, *hour),
        (MIDNIGHT + 2 * HOUR, *_ALICE, *map(pytest.approx, last)),
    ]
    day = (10_800.0, 3600.0, 7200.0, 2.0 * _GIB * 10_800, 10_800.0, 3 * _GIB, 0.9 * 3600, 10_800.0)
    assert _rows(used, usage_days.VIEW, *names, order="site, at") == [
        (MIDNIGHT, *_NOBODY, *nothing),
        (MIDNIGHT, *_ALICE, *map(pytest.approx, day)),
    ]
    shown = datetime.datetime.fromtimestamp(MIDNIGHT / 1e6, datetime.UTC)
    assert _rows(used, usage_days.VIEW, "DISTINCT ts", order="ts") == [(shown,)]
    assert _rows(used, owners.VIEW, *_WHO[3:], order="kind") == [_NOBODY[3:], _ALICE[3:]]


def test_intervals(used: Store) -> None:
    """One by one, with who it was in a few words, on which GPU, and means over what is known."""
    names = ("node", "site", "rack", "gpu", "position", "partition", "holder", "kind", "user_name", "job", "pod")
    sums = ("observed_seconds", "active_seconds", "held_seconds", "memory_mean", "memory_most", "activity_mean")
    assert _rows(used, usage.VIEW, "begin_at", "end_at", *names, *sums, "processes", order="site DESC, begin_at") == [
        (
            *(MIDNIGHT, MIDNIGHT + 3 * HOUR, "alpha", "east", "r1", "GPU-a", 3, None),
            *("alice job 7", "slurm", "alice", "7", None, 10_800.0, 3600.0, 7200.0, 2.0 * _GIB, 3 * _GIB, 30.0, 4),
        ),
        (
            *(MIDNIGHT, MIDNIGHT + HOUR, "beta", "(none)", "(none)", "GPU-b", None, "MIG-1"),
            *("nobody", "nobody", "(none)", None, None, 3600.0, 0.0, 3600.0, None, None, None, 1),
        ),
    ]


def test_the_worst_workloads(used: Store) -> None:
    """By the hour and by the day, with what is known of each; also after its own row is gone."""
    names = ("holder", *_WHO, "job", "gpus", "nodes", "active_seconds", "held_seconds")
    of_hours = _rows(used, waste_hours.VIEW, *names, order="site DESC, at")
    # Of three hours two thirds: an interval does not tell when it was active.
    assert of_hours == [("alice job 7", *_ALICE, "7", 1, 1, 1200.0, 2400.0)] * 3 + [
        ("nobody", *_NOBODY, None, 1, 1, 0.0, 3600.0)
    ]
    of_days = _rows(used, waste_days.VIEW, *names, order="site DESC, at")
    assert of_days[0] == ("alice job 7", *_ALICE, "7", 1, 1, 3600.0, 7200.0)
    with used.writing() as connection:
        connection.execute(holders.delete())
    assert _rows(used, waste_days.VIEW, "holder", "job", order="site DESC") == [("alice job 7", None), ("nobody", None)]


def test_no_view_shows_what_people_ran(used: Store) -> None:
    """No command line comes out of any column of any view, nor is it looked at."""
    with used.writing() as connection:
        connection.execute(update(holders).values(command="python --secret"))
    for view in every_view().values():
        assert "holders.command" not in view.select
        with used.reading() as connection:
            rows = connection.execute(text(f"SELECT * FROM {view}")).all()
        assert "--secret" not in str(rows), view


def test_places_are_estimated_as_they_are(used: Store) -> None:
    """All of them are asked for, and PostgreSQL knows: it adds up all rows once, and not place by place."""
    names = [name for (name,) in _rows(used, usage_hours.VIEW, "DISTINCT site", order="site")]
    listed = ", ".join(f"'{name}'" for name in names)
    query = f"EXPLAIN (FORMAT JSON) SELECT sum(held_seconds) FROM {usage_hours.VIEW} WHERE site IN ({listed})"
    with used.reading() as connection:
        plan = json.dumps(connection.execute(text(query)).scalar_one())
        places = connection.execute(text("SELECT count(*) FROM usage_places")).scalar_one()
    found = re.search(r'"Relation Name": "usage_places".*?"Plan Rows": (\d+)', plan)
    assert found is not None
    assert int(found[1]) == places == 2
