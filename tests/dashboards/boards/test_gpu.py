"""The board GPU has every metric of the catalogue, those to come too."""

import dataclasses
from collections import Counter

from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, METRICS, ON_CHANGE, Unit
from gpufleet_dashboards.boards.gpu import BOARD, groups

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
