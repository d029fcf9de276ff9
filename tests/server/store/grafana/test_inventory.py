"""GPUs and nodes as they are now, their newest samples and what is in force, held against what was reported."""

from typing import Any

import pytest
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE
from gpufleet_server.domain.use import Use
from gpufleet_server.store.engine import Store
from gpufleet_server.store.gpu_counts import COUNTS
from gpufleet_server.store.grafana.views import gpu_counts, gpus, latest, nodes, states_now
from gpufleet_server.store.tiers import MINUTE

from tests.server import expected, stored
from tests.server.fleet import NOW, SECOND, Fleet, in_every_state
from tests.server.store.grafana.filled import GPUS, HOSTS, Filled, at

_NONE = "(none)"


def test_gpus(filled: Filled) -> None:
    """Who and where each is, and the versions of its board and of its node."""
    shown = {row["gpu"]: row for row in filled.rows(gpus.VIEW)}
    assert len(shown) == 6
    for agent, host, gpu in zip(filled.agents, HOSTS, GPUS, strict=True):
        for position, uuid in enumerate(agent.gpus):
            row = shown[uuid]
            told = {
                "node": host["hostname"], "node_uuid": agent.node, "position": position, "serial": f"S-{uuid}",
                "site": host.get("site", _NONE), "room": host.get("room", _NONE), "rack": host.get("rack", _NONE),
                "vendor": "NVIDIA", "model": gpu.get("model", "H100") or _NONE,
                "vbios": gpu.get("vbios_version", _NONE), "inforom": gpu.get("inforom_image_version", _NONE),
                "firmware": gpu.get("gsp_firmware_version", _NONE), "part_number": gpu.get("board_part_number", _NONE),
                "pci_address": gpu.get("pci_address"),
                "driver": host.get("driver_version", "570.1") or _NONE, "cuda": host.get("cuda_version", _NONE),
                "memory_total": gpu.get("memory_total"), "simulated": host.get("simulated", False),
                "removed_at": None, "node_last_seen": at(NOW), "first_seen": at(NOW), "slot": position,
            }  # fmt: skip
            assert {name: row[name] for name in told} == told


def test_nodes(filled: Filled) -> None:
    """Where each is, what runs on it, and how many GPUs it has."""
    shown = {row["node_uuid"]: row for row in filled.rows(nodes.VIEW)}
    assert len(shown) == 3
    for agent, host in zip(filled.agents, HOSTS, strict=True):
        told = {
            "node": host["hostname"], "site": host.get("site", _NONE), "rack": host.get("rack", _NONE),
            "room": host.get("room", _NONE), "simulated": host.get("simulated", False), "agent_version": "0.1.0",
            "driver": host.get("driver_version", "570.1") or _NONE, "cuda": host.get("cuda_version", _NONE),
            "kernel": host.get("kernel", _NONE), "os": host.get("os", _NONE), "driver_state": "ok",
            "driver_detail": "", "driver_since": at(NOW - 60 * SECOND), "first_seen": at(NOW), "last_seen": at(NOW),
            "interval_seconds": 1.0, "clock_offset_seconds": 0.0, "backlog_reports": 0, "backlog_bytes": 0,
            "backlog_dropped": 0, "gpus": 2,
        }  # fmt: skip
        assert {name: shown[agent.node][name] for name in told} == told


def test_states(postgresql: Store) -> None:
    """The words of the domain, for all that a node and a GPU can be in, at the database's time."""
    told = in_every_state(postgresql)
    filled = Filled(postgresql, (), (), ())
    shown = {row["node"]: row["state"] for row in filled.rows(nodes.VIEW, "node", "state")}
    shown |= {row["gpu"]: row["state"] for row in filled.rows(gpus.VIEW, "gpu", "state")}
    assert shown == told
    assert len(set(told.values())) == 6
    assert {row["gpus"] for row in filled.rows(nodes.VIEW, "gpus")} == {1}
    for row in filled.rows(gpus.VIEW):
        assert row["node"].endswith(f"-{row['lost']}")
        assert row["gpu"].endswith(f"-{row['removed']}")


@pytest.mark.parametrize("what", COUNTS)
def test_counts(filled: Filled, what: str) -> None:
    """As many GPUs, and nodes, as the views that have a row a GPU show; no other column has a value."""
    names, whole = ("site", "model", "simulated", *COUNTS[what]), states_now if what == "power_limit" else gpus
    nodes_of: dict[Any, list[str]] = {}
    for row in filled.rows(whole.VIEW, *names, "node_uuid"):
        nodes_of.setdefault(tuple(row[name] for name in names), []).append(row["node_uuid"])
    shown = filled.rows(gpu_counts.VIEW, where=f"what = '{what}'")
    told = {tuple(row[name] for name in names): (row["gpus"], row["nodes"]) for row in shown}
    assert told == {key: (len(each), len(set(each))) for key, each in nodes_of.items()}
    others = {name for columns in COUNTS.values() for name in columns} - {*COUNTS[what]}
    assert {row[name] for row in shown for name in others} == {None}
    assert {(row["at"], row["ts"]) for row in shown} == {(NOW + MINUTE, at(NOW + MINUTE))}
    assert len(shown) == len(told) == 3 + (what == "power_limit")


def test_the_newest_samples(filled: Filled) -> None:
    """Each GPU's last one, with its use."""
    newest = {each.gpu: each for each in stored.every(filled.store)}
    shown = {row["gpu"]: row for row in filled.rows(latest.VIEW)}
    assert shown.keys() == newest.keys()
    for uuid, sample in newest.items():
        row = shown[uuid]
        told: dict[str, Any] = {metric.name: metric.value(sample.stored[metric.name]) for metric in EVERY_SAMPLE}
        told |= {"at": sample.ts, "ts": at(sample.ts), "duration": sample.duration / 1000, "state": "not_reporting"}
        assert {name: row[name] for name in told} == told
        (point,) = expected.points([sample], 1)
        of_use = next((name for name in ("active", "held", "unknown") if point.stored[name]), Use.FREE.word)
        assert row["use"] == of_use


def test_what_is_in_force(filled: Filled) -> None:
    """The newest value of each metric that is sent on change; NULL where it is absent or was never told."""
    told: dict[str, dict[str, Any]] = {uuid: {} for agent in filled.agents for uuid in agent.gpus}
    for state in sorted(filled.states, key=lambda state: state.at):
        told[state.gpu][state.metric] = state.stored
    for row in filled.rows(states_now.VIEW):
        for metric in ON_CHANGE:
            value = told[row["gpu"]].get(metric.name)
            assert row[metric.name] == (None if value is None else metric.value(value)), metric.name
    assert {row["power_limit"] for row in filled.rows(states_now.VIEW, "power_limit")} == {700.5, None}


@pytest.mark.parametrize("view", [latest.VIEW, states_now.VIEW], ids=lambda view: view.name)
def test_a_gpu_of_which_nothing_is_known(postgresql: Store, view: Any) -> None:
    """It has no newest sample, and nothing is in force."""
    fleet = Fleet(postgresql)
    fleet.gpu(fleet.node("n1"), "GPU-a")
    rows = Filled(postgresql, (), (), ()).rows(view)
    assert len(rows) == (view.name == "states_now")
    assert all(row["power_limit"] is None for row in rows)
