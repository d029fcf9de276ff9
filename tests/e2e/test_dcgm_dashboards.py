"""The DCGM exporter's own dashboards, unchanged, over a real Prometheus that scrapes a real agent."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.dcgm_exporter import DASHBOARDS, Dashboard, Panel
from tests.e2e.prometheus import Prometheus, prometheus
from tests.e2e.stack import BIN, free_port, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Device, Scenario, counter, h100_sxm

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")

NODE = "dgx-17"
WATTS = (450.0, 520.0)
SECONDS = 5
# What one GPU shows in each panel: the field of the scenario, and what makes Grafana's unit of it.
TRUTH: dict[str, tuple[str, float]] = {
    "GPU Temperature": ("temperature_c", 1),
    "GPU Avg. Temp": ("temperature_c", 1),
    "GPU SM Clocks": ("clock.sm", 1e6),
    "GPU Utilization": ("util.gpu", 1),
    "Tensor Core Utilization": ("gpm.any_tensor_util", 0.01),
    "GPU Framebuffer Mem Used": ("fb.used", 1 / (1 << 20)),
}
# The units of both dashboards, and the values that a GPU can have in each.
BOUNDS = {
    "celsius": (10, 110),
    "watt": (10, 3000),
    "hertz": (1e8, 1e10),
    "percent": (1, 100),
    "percentunit": (0.01, 1),
    "decmbytes": (1000, 300_000),
}


def gpus() -> list[Device]:
    """Two H100s whose energy counters grow by WATTS; all else of them stands still, each value another."""
    return [h100_sxm(n, {"energy_mj": counter(10**9, 1000 * watts)}) for n, watts in enumerate(WATTS)]


@contextmanager
def agent(folder: Path, driver: Path, address: str) -> Iterator[None]:
    """A `gpufleet-agent run` without a server that serves the exporter's names there."""
    options = ["--metrics-listen", address, "--dcgm-names", "--interval", "1s", "--name", NODE]
    command = [str(BIN / "gpufleet-agent"), "run", "--state-dir", str(folder / "agent"), *options]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | environment(driver), stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, list[Device]]]:
    """A Prometheus that has scraped the agent for some seconds, and what the driver under it says."""
    folder = tmp_path_factory.mktemp("dcgm")
    boards = gpus()
    driver, target = Scenario(list(boards)).write(folder / "driver"), f"127.0.0.1:{free_port()}"
    with agent(folder, driver, target), prometheus(folder / "prometheus", target) as it:
        power = f"count_over_time(DCGM_FI_DEV_POWER_USAGE[1m]) >= {SECONDS}"
        wait_for("some seconds of power", lambda: len(it.now(power)) == len(boards), 60)
        yield it, boards


def expanded(query: str, board: Dashboard, it: Prometheus) -> str:
    """The query with its variables as Grafana fills them in where all of several values are chosen."""
    for name, (metric, label) in board.variables.items():
        values = [re.sub(r"([\\^$.*+?()[\]{}|])", r"\\\\\1", value) for value in it.label_values(metric, label)]
        assert values, f"${name} offers nothing"
        query = query.replace(f"${name}", values[0] if len(values) == 1 else f"({'|'.join(values)})")
    assert "$" not in query
    return query


def wanted(panel: Panel, boards: list[Device]) -> list[float]:
    """What the panel must show, GPU by GPU or all together."""
    if "Power" in panel.title:
        each = list(WATTS)
    else:
        field, factor = TRUTH[panel.title]
        if panel.title == "GPU Utilization" and panel.unit == "percentunit":
            factor /= 100
        each = [float(gpu.values[field]) * factor for gpu in boards]  # type: ignore[arg-type]
    if panel.query.startswith("sum("):
        return [sum(each)]
    return [sum(each) / len(each)] if panel.query.startswith("avg(") else each


@pytest.mark.parametrize(
    ("board", "panel"), [pytest.param(b, p, id=f"{b.name}-{p.title}") for b in DASHBOARDS for p in b.panels]
)
def test_the_panel_shows_the_drivers_truth(
    scraped: tuple[Prometheus, list[Device]], board: Dashboard, panel: Panel
) -> None:
    """The query, as Grafana asks it, gives each GPU's own value in the panel's unit."""
    it, boards = scraped
    query = expanded(panel.query, board, it)
    now = it.now(query)
    shown = [value for _, value in sorted(now, key=lambda one: one[0].get("gpu", ""))]
    # Power is energy over an interval that the driver's own clock does not time.
    assert shown == pytest.approx(wanted(panel, boards), rel=0.1 if panel.unit == "watt" else 1e-3)
    low, high = BOUNDS[panel.unit]
    assert all(low <= value <= high for value in shown)
    if not panel.is_instant:
        assert [labels for labels, values in it.over(query, SECONDS) if values] == [labels for labels, _ in now]


def test_all_panels_units_are_known() -> None:
    """No panel of either dashboard is passed over."""
    assert {panel.unit for board in DASHBOARDS for panel in board.panels} == set(BOUNDS)
    assert [len(board.panels) for board in DASHBOARDS] == [8, 8]


def test_legends_tell_nodes_apart(scraped: tuple[Prometheus, list[Device]]) -> None:
    """`{{Hostname}} - GPU {{gpu}}` has both, and the variables offer this node and its GPUs."""
    it, _ = scraped
    assert it.label_values("DCGM_FI_DEV_FB_FREE", "Hostname") == [NODE]
    assert it.label_values("DCGM_FI_DEV_FB_FREE", "gpu") == ["0", "1"]
    assert it.label_values("DCGM_FI_DEV_GPU_TEMP", "instance") == [it.target]


def test_counters_count_by_their_unit(scraped: tuple[Prometheus, list[Device]]) -> None:
    """The rate of the energy counter, in mJ a second, is the power; Prometheus knows the exporter's types."""
    it, _ = scraped
    rates = it.now("rate(DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION[10s]) / 1000")
    # Over so few samples `rate` is coarse; a wrong unit would be off by a thousand.
    assert [value for _, value in sorted(rates, key=lambda one: one[0]["gpu"])] == pytest.approx(WATTS, rel=0.3)
    types = {name: one[0]["type"] for name, one in it.get("metadata").items()}
    assert types["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == "counter"
    assert types["DCGM_FI_DEV_GPU_TEMP"] == "gauge"


@pytest.mark.parametrize(
    "rule",
    [
        "DCGM_FI_DEV_XID_ERRORS > 0",
        "DCGM_FI_DEV_GPU_TEMP > 95",
        "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE) > 1",
        "increase(DCGM_FI_DEV_ECC_DBE_VOL_TOTAL[1m]) > 0",
        'DCGM_FI_DEV_XID_ERRORS{err_code=~"48|74|79|94|95"}',
    ],
)
def test_rules_are_silent_where_nothing_is_wrong(scraped: tuple[Prometheus, list[Device]], rule: str) -> None:
    """What such rules commonly watch is there, and is not above its threshold."""
    it, boards = scraped
    assert it.now(rule) == []
    watched = re.split(r" > |{", rule)[0]
    assert len(it.now(watched)) == len(boards)
