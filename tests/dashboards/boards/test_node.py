"""The board Node: what its table of workloads makes of intervals that the range cuts."""

from typing import Any

import pytest

from tests.dashboards.boards.conftest import MINUTE, Views

_NODE = {"node_uuid": "a", "node": "node1", "node_id": 1, "site": "east"}
_GPU = _NODE | {"model": "H100", "position": 0, "gpu_id": 1, "gpu": "GPU-1"}


def _usage(begin: int, end: int, activity: float) -> dict[str, Any]:
    """Of one workload, which was active all the time."""
    seconds = (end - begin) / 1e6
    times = {"begin_at": begin, "end_at": end, "observed_seconds": seconds, "active_seconds": seconds}
    holder = {"holder_id": 7, "holder": "ann job 1", "kind": "slurm", "memory_most": 0.0, "held_seconds": 0.0}
    return _GPU | holder | times | {"activity_mean": activity}


def test_activity_is_weighed_by_what_lies_within_the_range(views: Views) -> None:
    """Of ten hours of a busy interval the range has half an hour, of an idle one as long all of it."""
    begin = views.now - 120 * MINUTE
    middle, end = begin + 30 * MINUTE, begin + 60 * MINUTE
    views.put("nodes", _NODE)
    views.put("gpus", _GPU)
    views.put("usage", _usage(begin - 570 * MINUTE, middle, 100.0), _usage(middle, end, 0.0))
    (told,) = views.rows("node", "Workloads", begin, end)
    assert (told["active_hours"], told["activity"]) == (pytest.approx(1.0), pytest.approx(50.0))


def test_workloads_with_most_gpu_time_come_first(views: Views) -> None:
    """Whatever they are called: of many only the first hundred are shown."""
    begin, end = views.now - 60 * MINUTE, views.now
    views.put("nodes", _NODE)
    views.put("gpus", _GPU)
    names = ("ann", "zoe", "bob")
    for number, minutes in enumerate((10, 30, 20)):
        of = {"holder_id": number, "holder": names[number]}
        views.put("usage", _usage(begin, begin + minutes * MINUTE, 50.0) | of)
    assert [row["holder"] for row in views.rows("node", "Workloads", begin, end)] == ["zoe", "bob", "ann"]


def test_gpus_are_in_the_order_of_their_places(views: Views) -> None:
    """Grafana sorts series by their labels, as texts."""
    begin, end = views.now - 30 * MINUTE, views.now
    views.put("nodes", _NODE)
    for position in (10, 2):
        sample = {"span": begin, "at": begin + MINUTE, "duration": 10.0, "power": 100.0}
        views.put("samples", sample | {"node_uuid": "a", "gpu": f"GPU-{position}", "position": position})
    told = sorted({row["position"] for row in views.rows("node", "Power", begin, end)})
    assert [each.strip() for each in told] == ["2", "10"]
