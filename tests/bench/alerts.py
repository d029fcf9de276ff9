"""From an XID on a node to the alert in a real Alertmanager; and what evaluating all rules over a large fleet takes.

The first: real agents on simulated drivers, one server with one PostgreSQL, Debian's Alertmanager, and a simulated
fleet that reports to the server meanwhile. An XID is given to a driver; the time is until Alertmanager's API shows its
alert.

The second: a larger simulated fleet reports to a server that evaluates nothing, and an engine in this process evaluates
all rules every 15 s. Its CPU is this process's and that of its PostgreSQL connections, which use no parallel workers,
so that none is overlooked; the first round, before which nothing is in memory, is left out.
"""

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.engine import INTERVAL_S, Engine
from gpufleet_server.alerts.overrides import usual
from gpufleet_server.domain import clock
from gpufleet_server.domain.xids import Action, catalogue
from gpufleet_server.store.engine import Store
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url, text

from tests.bench.backlog import Simulation
from tests.bench.processes import cpu_seconds
from tests.bench.scale import Stack, stack
from tests.e2e.alertmanager import Alertmanager, alertmanager
from tests.e2e.stack import BIN, agent, wait_for
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm
from tests.server.alerts.delivery.hook import hook

GPUS_A_NODE = 8
_APPLICATION = "gpufleet-bench-alerts"
# How finely Alertmanager is asked, and how long an alert may take before it counts as lost, s.
_LOOK_S, _PATIENCE_S = 0.01, 60.0
_PAUSE_S = (0.2, 1.2)
# How often the server is asked whether the whole fleet reports, s.
_ASK_S = 5.0


@dataclass
class Node:
    """A real agent's driver."""

    scenario: Scenario
    file: Path

    def xid(self, gpu: int, code: int) -> float:
        """An XID comes now; when that was (monotonic, s)."""
        self.scenario.gpus[gpu].xid(code, self.scenario.now() + 0.01)
        self.scenario.write(self.file)
        return time.monotonic()

    def uuid(self, gpu: int) -> str:
        """A GPU's UUID."""
        return str(self.scenario.gpus[gpu].values["uuid"])


@contextmanager
def load(it: Stack, gpus: int) -> Iterator[Simulation]:
    """A simulated fleet of so many GPUs, which all report every 10 s while the block runs."""
    ramp = max(10.0, gpus / 1000)
    command = [
        str(BIN / "gpufleet"), "simulate", "--server", it.server.url, "--no-faults", "--json",
        "--agents", str(gpus // GPUS_A_NODE), "--gpus-per-node", str(GPUS_A_NODE), "--report-every", "5s",
        "--ramp", f"{ramp:g}s",
    ]  # fmt: skip
    simulation = Simulation(command, it.server.token("join"))
    try:
        time.sleep(ramp)
        reader = it.server.token("reader")
        wait_for("the fleet", lambda: _reporting(it, reader) >= gpus, 300)
        yield simulation
    finally:
        simulation.kill()


def _reporting(it: Stack, reader: str) -> int:
    # Of a large fleet to ask is work that keeps the server from taking reports.
    time.sleep(_ASK_S)
    return int(it.server.get("/summary", reader)["gpus"]["by_state"]["reporting"])


@contextmanager
def real_nodes(it: Stack, count: int) -> Iterator[list[Node]]:
    """Real agents, each with a simulated driver and an id of its own."""
    token, reader = it.server.token("join"), it.server.token("reader")
    nodes: list[Node] = []
    with ExitStack() as agents:
        for number in range(count):
            folder = it.folder / f"node-{number}"
            (folder / "agent").mkdir(parents=True)
            kept = {"node": str(uuid.uuid4()), "basis": "random"}
            (folder / "agent" / "node.json").write_text(json.dumps(kept))
            gpus = [busy(h100_sxm(number * GPUS_A_NODE + index)) for index in range(GPUS_A_NODE)]
            scenario = Scenario(gpus)
            nodes.append(Node(scenario, scenario.write(folder / "scenario")))
            agents.enter_context(agent(folder, it.server.url, token, environment(nodes[-1].file)))
        wanted = [node.uuid(gpu) for node in nodes for gpu in range(GPUS_A_NODE)]
        wait_for("the real agents", lambda: all(_known(it, each, reader) for each in wanted), 60)
        yield nodes


def _known(it: Stack, gpu: str, reader: str) -> bool:
    try:
        return bool(it.server.get(f"/gpus/{gpu}", reader)["state"] == "reporting")
    except httpx.HTTPStatusError:
        return False


def delays(it: Alertmanager, nodes: list[Node], events: int) -> list[float]:
    """The seconds from each XID to its alert; infinite where it did not come."""
    codes = catalogue().codes(Action.RESET_GPU, Action.REBOOT_NODE)
    which = [(node, gpu, code) for code in codes for gpu in range(GPUS_A_NODE) for node in nodes]
    found = []
    with httpx.Client(base_url=it.url, timeout=10) as api:
        for number, (node, gpu, code) in enumerate(random.Random(7).sample(which, events), 1):
            time.sleep(random.uniform(*_PAUSE_S))
            found.append(_until_there(api, node.uuid(gpu), code, node.xid(gpu, code)))
            if number % 20 == 0:
                _tell(f"{number} XIDs: p50 {np.median(found):.3f} s, slowest {max(found):.3f} s")
    return found


def _until_there(api: httpx.Client, gpu: str, code: int, began: float) -> float:
    wanted = {"filter": [f'gpu="{gpu}"', f'xid="{code}"']}
    while time.monotonic() - began < _PATIENCE_S:
        if api.get("/api/v2/alerts", params=wanted).json():
            return time.monotonic() - began
        time.sleep(_LOOK_S)
    return math.inf


def latency(folder: Path, args: argparse.Namespace) -> tuple[list[float], dict[str, Any]]:
    """The delay of each event under load, and whether the webhook behind Alertmanager was told each once."""
    nodes = math.ceil(args.events / GPUS_A_NODE / len(catalogue().codes(Action.RESET_GPU, Action.REBOOT_NODE)) * 1.25)
    with hook() as pager, alertmanager(folder / "am", pager.url) as it:
        receivers = folder / "receivers.toml"
        receivers.write_text(f'[alertmanager.main]\nurls = ["{it.url}"]\n')
        with (
            environ(GPUFLEET_RECEIVERS=str(receivers)),
            stack(folder) as servers,
            load(servers, args.gpus),
            real_nodes(servers, nodes) as agents,
        ):
            _tell(f"{args.gpus:,} simulated GPUs report, and {nodes} real agents")
            found = delays(it, agents, args.events)
        told = [one for request in pager.requests for one in request.json["alerts"] if "xid" in one["labels"]]
    # Several rules tell of one XID, some of them of a whole node's.
    firing = [tuple(sorted(one["labels"].items())) for one in told if one["status"] == "firing"]
    arrived = [delay for delay in found if delay < math.inf]
    return arrived, {"lost": len(found) - len(arrived), "doubled": len(firing) - len(set(firing))}


def rounds(folder: Path, args: argparse.Namespace) -> tuple[list[float], dict[str, float]]:
    """CPU seconds of each round over the large fleet, this process's and PostgreSQL's; and what each rule took, ms."""
    with environ(GPUFLEET_ALERTS="off"), stack(folder) as servers, load(servers, args.round_gpus):
        settings = {"application_name": _APPLICATION, "options": "-c max_parallel_workers_per_gather=0"}
        url = make_url(servers.server.database).update_query_dict(settings)
        with closing(Store.open(url.render_as_string(hide_password=False))) as store:
            return _rounds(servers, store, args.rounds)


def _rounds(servers: Stack, store: Store, count: int) -> tuple[list[float], dict[str, float]]:
    engine = Engine(store, usual(every_rule()))
    found: list[float] = []
    for number in range(count + 1):
        began, before = time.monotonic(), _spent(store)
        engine.round(clock.now())
        found.append(_spent(store) - before)
        _tell(f"round {number}: {found[-1]:.3f} s of CPU in {time.monotonic() - began:.3f} s")
        time.sleep(max(0.0, INTERVAL_S - (time.monotonic() - began)))
    with store.reading() as connection:
        by_rule = {row.rule: row.seconds * 1000 for row in connection.execute(text("SELECT * FROM rule_runs"))}
    return found[1:], by_rule


def _spent(store: Store) -> float:
    """CPU seconds so far, of this process and of its connections."""
    asked = text("SELECT pid FROM pg_stat_activity WHERE application_name = :name")
    with store.reading() as connection:
        pids = list(connection.execute(asked, {"name": _APPLICATION}).scalars())
    return time.process_time() + cpu_seconds(pids)


@contextmanager
def environ(**variables: str) -> Iterator[None]:
    """With these variables for the programs that are started."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def show(found: list[float], spent: list[float], by_rule: dict[str, float], args: argparse.Namespace) -> None:
    """The tables for people."""
    table = Table("", "s", title=f"XID → Alertmanager, {len(found)} events, {args.gpus:,} GPUs report")
    for name, share in (("p50", 50), ("p90", 90), ("p99", 99), ("slowest", 100)):
        table.add_row(name, f"{np.percentile(found, share):.3f}")
    Console(width=100).print(table)
    table = Table("rule", "ms", title=f"a round over {args.round_gpus:,} GPUs: {np.mean(spent):.3f} s of CPU")
    for name, taken in sorted(by_rule.items(), key=lambda each: -each[1]):
        table.add_row(name, f"{taken:.1f}")
    Console(width=100).print(table)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Run, print the tables, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--gpus", type=int, default=10_000, help="that report while XIDs come")
    parser.add_argument("--round-gpus", type=int, default=100_000, help="over which all rules are evaluated")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="on which disk the data lie while it runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-", dir=args.folder) as folder:
        Path(folder).chmod(0o755)
        (first := Path(folder) / "latency").mkdir()
        (second := Path(folder) / "rounds").mkdir()
        found, outcome = latency(first, args)
        spent, by_rule = rounds(second, args)
    show(found, spent, by_rule, args)
    print(
        json.dumps(
            {
                "bench": "alerts",
                "events": args.events,
                "p50_s": round(float(np.percentile(found, 50)), 3),
                "p99_s": round(float(np.percentile(found, 99)), 3),
                **outcome,
                "round_cpu_s": round(float(np.mean(spent)), 3),
                "round_cores": round(float(np.mean(spent)) / INTERVAL_S, 4),
                "gpus": args.gpus,
                "round_gpus": args.round_gpus,
                "rules": len(by_rule),
            }
        )
    )


if __name__ == "__main__":
    main()
