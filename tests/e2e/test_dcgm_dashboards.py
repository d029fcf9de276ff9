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
from tests.e2e.stack import BIN, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Device, Scenario, counter, h100_sxm
from tests.ports import free_port

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
        process.wait(60)


@contextmanager
def scraped(folder: Path) -> Iterator[tuple[Prometheus, Scenario]]:
    """A Prometheus that has scraped the agent for some seconds, and the driver under it; a fixture would start many."""
    scenario = Scenario(gpus())
    driver, target = scenario.write(folder / "driver"), f"127.0.0.1:{free_port()}"
    with agent(folder, driver, target), prometheus(folder / "prometheus", target) as it:
        power = f"count_over_time(DCGM_FI_DEV_POWER_USAGE[1m]) >= {SECONDS}"
        wait_for("some seconds of power", lambda: len(it.now(power)) == len(WATTS), 60)
        yield it, scenario


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


def check(it: Prometheus, board: Dashboard, panel: Panel, boards: list[Device]) -> None:
    """The query, as Grafana asks it, gives each GPU's own value in the panel's unit."""
    where, query = f"{board.name}: {panel.title}", expanded(panel.query, board, it)
    now = it.soon(query)
    shown = [value for _, value in sorted(now, key=lambda one: one[0].get("gpu", ""))]
    # Power is energy over an interval that the driver's own clock does not time.
    assert shown == pytest.approx(wanted(panel, boards), rel=0.1 if panel.unit == "watt" else 1e-3), where
    low, high = BOUNDS[panel.unit]
    assert all(low <= value <= high for value in shown), where
    if not panel.is_instant:
        assert [labels for labels, values in it.over(query, SECONDS) if values] == [labels for labels, _ in now], where


def test_every_panel_shows_the_drivers_truth_in_its_unit(tmp_path: Path) -> None:
    """All queries and variables of both dashboards, and legends that tell nodes and GPUs apart."""
    with scraped(tmp_path) as (it, scenario):
        for board in DASHBOARDS:
            assert len(board.panels) == 8
            for panel in board.panels:
                check(it, board, panel, scenario.gpus)
        assert it.label_values("DCGM_FI_DEV_FB_FREE", "Hostname") == [NODE]
        assert it.label_values("DCGM_FI_DEV_FB_FREE", "gpu") == ["0", "1"]
        assert it.label_values("DCGM_FI_DEV_GPU_TEMP", "instance") == [it.target]


# What rules for the exporter commonly look at.
RULES = (
    "DCGM_FI_DEV_XID_ERRORS > 0",
    "DCGM_FI_DEV_GPU_TEMP > 95",
    "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE) > 1",
    "increase(DCGM_FI_DEV_ECC_DBE_VOL_TOTAL[1m]) > 0",
    'DCGM_FI_DEV_XID_ERRORS{err_code=~"48|74|79|94|95"}',
)


def test_rules_are_silent_until_something_happens(tmp_path: Path) -> None:
    """What they watch is there and within bounds; an XID makes those of XIDs speak; energy grows by mJ."""
    with scraped(tmp_path) as (it, scenario):
        for rule in RULES:
            assert it.now(rule) == [], rule
            assert len(it.soon(re.split(r" > |{", rule)[0])) == len(WATTS), rule
        types = {name: one[0]["type"] for name, one in it.get("metadata").items()}
        assert types["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"] == "counter"
        assert types["DCGM_FI_DEV_GPU_TEMP"] == "gauge"
        scenario.gpus[1].xid(79, scenario.now() + 0.1)
        scenario.write(tmp_path / "driver")
        [(labels, value)] = wait_for("the XID", lambda: it.now(RULES[-1]))
        assert (labels["gpu"], labels["err_msg"], value) == ("1", "GPU has fallen off the bus", 79)
        assert [labels["xid"] for labels, _ in it.soon("DCGM_EXP_XID_ERRORS_TOTAL == 1")] == ["79"]
        energy = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
        wait_for("ten seconds of energy", lambda: it.now(f"count_over_time({energy}[10s]) >= 9"))
        rates = it.now(f"rate({energy}[10s]) / 1000")
        # Over so few samples `rate` is coarse; a wrong unit would be off by a thousand.
        assert [value for _, value in sorted(rates, key=lambda one: one[0]["gpu"])] == pytest.approx(WATTS, rel=0.3)
