"""What Prometheus would scrape is clean."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.e2e.stack import Server, agent, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, a100_mig, b200, busy, h100_sxm, old_card
from tests.ports import free_port

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(page: str) -> str:
    """What `promtool check metrics` complains of."""
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def page(url: str, token: str = "") -> str:
    """A metrics page; empty while it can't be had."""
    try:
        answer = httpx.get(url, headers={"authorization": f"Bearer {token}"} if token else {})
    except httpx.TransportError:
        return ""
    return answer.text if answer.status_code == 200 else ""


@needs_promtool
def test_agent_and_server_pages_are_clean(tmp_path: Path, fleet_server: Server) -> None:
    """promtool finds nothing on the pages of an agent with four kinds of GPU and of the server it reports to."""
    file = Scenario([busy(h100_sxm(0)), a100_mig(1), b200(2), old_card(3)]).write(tmp_path / "scenario")
    port, reader = free_port(), fleet_server.token("reader")
    options = ("--interval", "1s", "--metrics-listen", f"127.0.0.1:{port}")
    with agent(tmp_path, fleet_server.url, fleet_server.token("join"), environment(file), *options):
        wait_for("the GPUs", lambda: fleet_server.get("/gpus", reader, state="reporting")["total"] == 4)
        url = f"http://127.0.0.1:{port}/metrics"
        wait_for("power on the agent's page", lambda: "gpufleet_gpu_power_watts{" in page(url))
        agents = page(url)
    servers = page(f"{fleet_server.url}/metrics", reader)
    assert promtool(agents) == ""
    assert promtool(servers) == ""
    assert "gpufleet_gpus{" in servers
    assert "NaN" not in agents
