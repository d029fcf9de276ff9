"""`gpufleet xid`: what a code means and what to do, with and without a server that says how often the fleet had it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpufleet_server.domain import clock

from tests.e2e.stack import opened, server
from tests.server.cli.processes import Env, call, environment, run
from tests.server.fleet import Fleet


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Env]:
    """An environment that names a server whose fleet had XID 31 three times, on two GPUs of one node."""
    folder = tmp_path_factory.mktemp("xid")
    with server(folder) as it:
        with opened(it.database) as store:
            fleet = Fleet(store)
            node = fleet.node("alpha")
            gpus = [fleet.gpu(node, f"GPU-{number}") for number in range(2)]
            for gpu in (*gpus, gpus[0]):
                fleet.event(node, "xid", clock.now() - 60 * clock.SECOND, code=31, gpu_id=gpu)
        yield environment(folder, GPUFLEET_SERVER=it.url, GPUFLEET_TOKEN=it.token("reader"))


@pytest.fixture
def alone(tmp_path: Path) -> Env:
    """An environment that knows of no server."""
    return environment(tmp_path)


def items(env: Env, *arguments: str) -> list[dict[str, Any]]:
    """The codes in the JSON that the command prints."""
    return list(json.loads(call("xid", *arguments, "--json", env=env).stdout)["items"])


def test_with_a_server(env: Env) -> None:
    """What to do, and how often this fleet had it."""
    known = items(env, "31", "79")
    assert [(one["code"], one["action"]) for one in known] == [(31, "restart_app"), (79, "reboot_node")]
    assert [(one["fleet"]["count"], one["fleet"]["gpus"], one["fleet"]["nodes"]) for one in known] == [
        (3, 2, 1),
        (0, 0, 0),
    ]
    assert "3 times in the last 30d on 2 GPUs of 1 node; last" in call("xid", "XID31", env=env).stdout
    assert "not once in the last 10s" in call("xid", "31", "--since", "10s", env=env).stdout


def test_one_that_nobody_knows(alone: Env) -> None:
    """It is told after the others, with status 1."""
    unknown = run("xid", "79", "999", env=alone, status=1)
    assert "XID 79" in unknown.stdout
    assert "no table here knows XID 999" in unknown.stderr
    run("xid", "seventy", env=alone, status=2)


def test_without_a_server(alone: Env) -> None:
    """It says all but the count: with none that it knows of, and, saying so, with one that is not there."""
    assert items(alone, "79")[0]["fleet"] is None
    gone = run("xid", "79", "--server", "http://127.0.0.1:9", "--token", "x", env=alone)
    assert "not counted: can't reach" in gone.stderr
    assert "This fleet" not in gone.stdout


def test_changes_of_ones_own(alone: Env, tmp_path: Path) -> None:
    """They go over the catalogue; a file that is wrong is status 2."""
    (tmp_path / "xids.toml").write_text('[xid.109]\naction = "ignore"\nwhy = "we know it"')
    (changed,) = items(alone, "109", "--xids", str(tmp_path / "xids.toml"))
    assert (changed["action"], changed["why"]) == ("ignore", "we know it")
    (tmp_path / "xids.toml").write_text("[xid.109]\nactions = 1")
    assert "unknown field" in run("xid", "109", "--xids", str(tmp_path / "xids.toml"), env=alone, status=2).stderr
