"""What `gpufleet top` puts first, and how it fits."""

import io
from typing import Any

import pytest
from gpufleet_server.cli.top import Frame, by_node, view, why
from rich.console import Console

Item = dict[str, Any]


def gpu(node: str, index: int, state: str = "reporting", **metrics: Any) -> Item:
    """A GPU as the API tells it."""
    told = {name: {"value": value} for name, value in metrics.items() if name != "flags"}
    told["clock_event_reasons"] = {"value": 0, "flags": metrics.get("flags", [])}
    about = {"id": f"GPU-{node}-{index}", "node": {"id": node, "hostname": node}, "index": index, "state": state}
    place = {"model": "NVIDIA H100", "site": "s", "rack": "r", "serial": None, "at": None, "memory_total": 80 << 30}
    return about | place | {"simulated": True, "metrics": told}


def summary(gpus: int) -> Item:
    """A summary of one model."""
    whole = {"value": 1.0, "gpus": gpus}
    group = {"model": "NVIDIA H100", "gpus": gpus, "simulated": gpus, "by_state": {"reporting": gpus}}
    group |= {"gpu_utilization": whole, "power": whole, "memory_used": 1.0, "memory_total": 2.0}
    counts = {"total": gpus, "simulated": gpus, "by_state": {"reporting": gpus}}
    return {"time": "2026-03-01T12:00:00Z", "gpus": counts, "nodes": counts, "power": whole, "by_model": [group]} | {
        "gpu_utilization": whole
    }


def test_a_node_that_is_gone_takes_one_row() -> None:
    """GPUs that share their node's state are one row; lost ones and those that report keep their own."""
    gone = [gpu("a", index, "not_reporting") for index in range(8)]
    rows = by_node([gpu("b", 3, "lost"), *gone, gpu("c", 0), gpu("c", 1)])
    assert [(row["node"]["hostname"], row["index"]) for row in rows] == [("b", 3), ("a", "0-7"), ("c", 0), ("c", 1)]


@pytest.mark.parametrize(
    ("one", "codes", "told"),
    [
        (gpu("a", 0), [], ""),
        (gpu("a", 0), [31, 31, 79], "XID 31 ×2, 79"),
        (gpu("a", 0, temperature_margin=3), [], "hot"),
        (gpu("a", 0, temperature_margin=30, flags=["software power cap", "idle"]), [], ""),
        (gpu("a", 0, temperature_margin=0, flags=["hardware thermal slowdown"]), [94], "XID 94, hot, throttled"),
        (gpu("a", 0, "not_reporting", temperature_margin=0, flags=["hardware thermal slowdown"]), [], ""),
    ],
)
def test_what_is_wrong_is_said_in_words(one: Item, codes: list[int], told: str) -> None:
    """XIDs with their count, heat, and what holds the clocks down; a power cap is no trouble, old values no news."""
    assert why(one, {one["id"]: [{"code": code} for code in codes]} if codes else {}).plain == told


@pytest.mark.parametrize("height", [5, 10, 24, 60])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_frame_fits_the_screen(width: int, height: int) -> None:
    """However many GPUs there are."""
    many = [gpu(f"node-{number:03}", number % 8, gpu_utilization=99.0) for number in range(200)]
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, force_terminal=True, color_system=None)
    console.print(view(Frame("http://x", summary(200), many, {}), console, height))
    lines = stream.getvalue().splitlines()
    assert len(lines) <= max(height, 9)
    assert max(map(len, lines)) <= width


def test_an_empty_fleet_says_so() -> None:
    """Before the first agent has reported."""
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=24)
    console.print(view(Frame("http://x", summary(0) | {"by_model": []}, [], {}), console, 24))
    assert "no GPUs yet" in stream.getvalue()
