"""The board GPU has every metric of the catalogue, those to come too."""

import dataclasses
from collections import Counter

from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, METRICS, ON_CHANGE, Unit
from gpufleet_dashboards.boards.gpu import BOARD, groups

from tests.dashboards.boards.conftest import MINUTE, Views
from tests.dashboards.fleet.boards import Viewer
from tests.dashboards.grafana_sql.front import Range

_LINES = [each for each in EVERY_SAMPLE if each.unit is not Unit.FLAGS]


def test_every_metric_is_shown_once() -> None:
    """As a column of a graph; of flags each flag is one."""
    graphs = [row for row in BOARD.rows if row.title.startswith("Metrics")]
    shown = Counter(name for row in graphs for panel in row.panels if panel.query for name in panel.query.returns)
    for metric in METRICS:
        if metric in EVERY_SAMPLE and metric.unit is Unit.FLAGS:
            titles = [panel.title for row in graphs for panel in row.panels]
            assert metric.name.replace("_", " ").capitalize() in titles
        else:
            assert shown[metric.name] == 1, metric.name


def test_a_new_metric_has_its_place_by_its_name_or_its_unit() -> None:
    """Nobody has to touch the board for it."""
    pipe = dataclasses.replace(BY_NAME["fp16_active"], name="fp8_active")
    odd = dataclasses.replace(BY_NAME["fan_speed"], name="pump_speed")
    found = groups([*_LINES, pipe, odd], [("Pipes", r"fp\d+_active")])
    assert pipe in found["Pipes"]
    assert odd in next(group for group in found.values() if BY_NAME["fan_speed"] in group)


def test_metrics_of_one_graph_have_one_unit() -> None:
    """An axis has one scale."""
    for group in [*groups(_LINES, ()).values(), *groups(ON_CHANGE, [("All of it", ".*")]).values()]:
        assert len({(each.unit, each.kind) for each in group}) == 1


def test_each_node_and_each_gpu_can_be_chosen(views: Views) -> None:
    """Nodes of one name, and GPUs that were in one place one after the other: menus take one of each text."""
    for number, site in enumerate(("east", "east", "west")):
        node = {"node_id": number, "node": "node1", "node_uuid": f"uuid{number}", "site": site}
        views.put("nodes", node)
        views.put("gpus", *(node | {"gpu_id": 10 * number + each, "gpu": f"GPU-{each}", "model": "H100", "position": 0,
                                    "removed_at": None if each else "2026-01-01"} for each in range(2)),
                  node | {"gpu_id": 10 * number + 9, "gpu": "GPU-9", "model": "H100", "position": 0,
                          "removed_at": "2026-02-01"})  # fmt: skip
    views.put("places", {"site": "west", "model": "H100", "simulated": False})
    viewer = Viewer(views.connection, "gpu", Range(0, views.now // MINUTE * 60_000))
    viewer.choose(None)
    offered = {each.name: each.options for each in viewer.chosen}
    assert sorted(offered["node"]) == ["uuid0", "uuid1", "uuid2"]
    assert sorted(offered["gpu"]) == ["GPU-0", "GPU-1", "GPU-9"]
