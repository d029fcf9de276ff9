"""From an XID on a node to a real Alertmanager and a signed webhook, also when the server is killed in between."""

import time
from collections import Counter
from pathlib import Path

import pytest
from gpufleet_server.alerts.delivery.webhook import verify

from tests.e2e.alertmanager import Alertmanager, alertmanager, needs_alertmanager
from tests.e2e.stack import Server, agent, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm
from tests.server.alerts.delivery.hook import Hook, hook

pytestmark = needs_alertmanager
_SECRET = "between us"


def receivers(folder: Path, it: Alertmanager, tickets: Hook) -> Path:
    """A file of receivers."""
    (folder / "secret").write_text(_SECRET)
    file = folder / "receivers.toml"
    file.write_text(
        f'[alertmanager.main]\nurls = ["{it.url}"]\n'
        f'[webhook.tickets]\nurl = "{tickets.url}"\nsecret_file = "{folder / "secret"}"\n'
    )
    return file


def told(tickets: Hook) -> Counter[tuple[str, str, str]]:
    """(GPU, XID, change) → how often the webhook was told of it."""
    about = [(request.json["alert"]["labels"], request.json["change"]) for request in tickets.requests]
    return Counter((labels["gpu"], labels["xid"], change) for labels, change in about if "xid" in labels)


def test_an_xid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is at both within seconds; a server that is killed and started again tells neither of them twice."""
    scenario = Scenario([busy(h100_sxm(0)), busy(h100_sxm(1))])
    file = scenario.write(tmp_path / "scenario")
    gpus = [str(gpu.values["uuid"]) for gpu in scenario.gpus]
    with hook() as pager, hook() as tickets, alertmanager(tmp_path / "am", pager.url) as it:
        monkeypatch.setenv("GPUFLEET_RECEIVERS", str(receivers(tmp_path, it, tickets)))
        server = Server(tmp_path)
        server.start()
        reader = server.token("reader")
        with agent(tmp_path, server.url, server.token("join"), environment(file)):
            wait_for("the GPUs", lambda: server.get("/gpus", reader)["total"] == 2)
            scenario.gpus[0].xid(79, scenario.now())
            scenario.write(file)
            wait_for("Alertmanager", lambda: gpus[0] in {one["labels"].get("gpu") for one in it.alerts()}, 30)
            wait_for("the webhook", lambda: told(tickets) == {(gpus[0], "79", "firing"): 1}, 30)
            server.kill()
            scenario.gpus[1].xid(62, scenario.now())
            scenario.write(file)
            server.start()
            wait_for("the other XID", lambda: told(tickets)[gpus[1], "62", "firing"] == 1, 30)
            # What was told is told again to Alertmanager alone, which knows it.
            time.sleep(2)
        server.kill()
    assert told(tickets) == {(gpus[0], "79", "firing"): 1, (gpus[1], "62", "firing"): 1}
    for request in tickets.requests:
        assert verify(request.headers, request.body, _SECRET, time.time())
    paged = Counter(
        (one["labels"]["gpu"], one["status"])
        for request in pager.requests
        for one in request.json["alerts"]
        if "xid" in one["labels"]
    )
    assert paged == {(gpu, "firing"): 1 for gpu in gpus}
