"""`gpufleet usage`, and who holds GPUs elsewhere on a terminal, against a real server."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from gpufleet_server.cli.holders import holder_text
from gpufleet_server.cli.usage import hours
from gpufleet_server.domain.times import iso
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store

from tests.server.cli.processes import Env, call, environment
from tests.server.fleet import NOW, Fleet
from tests.server.live import address
from tests.server.used import HOUR, Used

__all__ = ["address"]

_SINCE = ("--since", iso(NOW - 3 * HOUR), "--until", iso(NOW))


@pytest.fixture
def env(address: tuple[str, int, Store], tmp_path: Path) -> Env:
    """A server that knows of a job of alice's, of a pod, and of memory that is nobody's."""
    host, port, store = address
    fleet, used = Fleet(store), Used(store)
    node_id = fleet.node("alpha", site="oslo", facts={"hostname": "alpha", "attribution": "names"})
    for place, uuid in enumerate(("GPU-a", "GPU-b", "GPU-c")):
        fleet.gpu(node_id, uuid, model="NVIDIA H100", position=place, first_seen=NOW - 24 * HOUR)
    holders = (
        used.holder(node_id, "slurm", uid=1, user="alice", job="4711", step="0", account="physics", command="python3"),
        used.holder(node_id, "kubernetes", namespace="ml", pod="train-0", pod_uid="u"),
        used.holder(node_id, "nobody"),
    )
    used.interval(node_id, 0, holders[0], NOW - 2 * HOUR, NOW, active=75)
    used.interval(node_id, 1, holders[1], NOW - HOUR, NOW, active=100)
    used.interval(node_id, 1, holders[2], NOW - 2 * HOUR, NOW - HOUR)
    used.now(node_id, NOW, (0, holders[0]), (1, holders[1]))
    with store.writing() as connection:
        _, token = tokens.create(connection, TokenKind.READER, "tests", now=NOW)
    return environment(tmp_path, GPUFLEET_SERVER=f"http://{host}:{port}", GPUFLEET_TOKEN=token)


def _table(text: str) -> list[list[str]]:
    return [re.split(" {2,}", line.strip()) for line in text.split("\n\n", maxsplit=1)[0].splitlines()]


def test_by_user(env: Env) -> None:
    """GPU-hours and shares, most first, what is nobody's told apart; below it what there was in all."""
    shown = call("usage", *_SINCE, env=env).stdout
    header, *rows = _table(shown)
    assert header[:4] == ["USER", "GPU-H", "ACTIVE", "HELD GPU-H"]
    assert [row[:4] for row in rows] == [
        ["alice", "2.00", "75 %", "0.50"],
        ["–", "1.00", "100 %", "0.0"],
        ["(nobody)", "1.00", "0 %", "1.00"],
    ]
    assert "9.00 GPU-h owned, coverage 0 %" in shown
    assert "2.99 GPU-h of known workloads, 1.00 held by nobody the driver lists" in shown
    assert "counted until 2026-09-21 14:13:20 UTC" in shown


def test_by_else_and_narrowed(env: Env) -> None:
    """Several at once are columns; pods, jobs and nodes by their names; a single node's total is not told."""
    assert _table(call("usage", "--by", "job,user", "--user", "alice", *_SINCE, env=env).stdout)[1][:3] == [
        "4711",
        "alice",
        "2.00",
    ]
    shown = call("usage", "--by", "pod", "--namespace", "ml", "--node", "alpha", *_SINCE, env=env).stdout
    assert _table(shown)[1][0] == "train-0"
    assert "owned" not in shown


def test_as_json(env: Env) -> None:
    """The server's answer with the items of all pages."""
    found: dict[str, Any] = json.loads(call("usage", "--by", "gpu", "--json", *_SINCE, env=env).stdout)
    assert [item["names"] for item in found["items"]] == [{"gpu": "GPU-a"}, {"gpu": "GPU-b"}]
    assert found["totals"]["gpu_seconds"] == pytest.approx(3 * 3 * 3600, rel=0.01)
    first = call("usage", "--limit", "1", *_SINCE, env=env)
    assert len(_table(first.stdout)) == 2
    assert "the first 1; --all shows the rest" in first.stderr


def test_intervals(env: Env) -> None:
    """From when to when, by whom and where."""
    shown = _table(call("usage", "--intervals", "--job", "4711", *_SINCE, env=env).stdout)
    assert shown[0][:5] == ["FROM (UTC)", "TO", "HOLDER", "NODE", "GPU"]
    assert shown[1][:6] == ["2026-09-21 12:13:20", "2026-09-21 14:13:20", "alice job 4711", "alpha", "GPU-a", "1.50"]
    assert call("usage", "--intervals", "--unit", "gdm.service", *_SINCE, env=env).stdout == ""


def test_who_holds_a_gpu_now(env: Env) -> None:
    """A column in listings, a table for one."""
    shown = _table(call("gpus", env=env).stdout)
    place = shown[0].index("HOLDER")
    assert [row[place] for row in shown[1:3]] == ["alice job 4711", "ml/train-0"]
    assert "alice job 4711" in call("top", "--once", env=env).stdout
    one = call("gpu", "GPU-a", env=env).stdout
    assert re.search(r"\nHolders\nHOLDER +SINCE.*\nalice job 4711 ", one)
    assert re.search(r"held by +nobody", call("gpu", "GPU-c", env=env).stdout)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--by", "users"], "--by 'users' is none of user, job"),
        (["--by", "user", "--intervals"], "give one of them"),
        (["--since", "yesterday"], "--since: 'yesterday' is no time"),
        (["--since", "1h", "--until", "2h"], "refuses --since: since"),
        (["--kind", "job"], "refuses --kind: Input should be 'slurm'"),
    ],
)
def test_wrong_usage(env: Env, wrong: list[str], told: str) -> None:
    """The option is named, and the exit status is 2."""
    assert told in call("usage", *wrong, env=env, status=2).stderr


def test_nothing_is_told_from_nothing_known(env: Env) -> None:
    """A time in which nobody used one is not the same as one that is not known yet."""
    then = ("--since", iso(NOW - 30 * HOUR), "--until", iso(NOW - 20 * HOUR))
    assert "nobody used a GPU then" in call("usage", *then, env=env).stderr
    later = ("--since", iso(NOW + HOUR), "--until", iso(NOW + 2 * HOUR))
    assert "nothing is known yet of that time" in call("usage", *later, env=env).stderr


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"kind": "slurm", "job": "7"}, "job 7"),
        ({"kind": "kubernetes", "pod_uid": "u"}, "pod u"),
        ({"kind": "container", "container": "0123456789abcdef", "runtime": "docker"}, "docker 0123456789ab"),
        ({"kind": "container", "container": "0", "container_name": "web"}, "web"),
        ({"kind": "unit", "unit": "gdm.service", "user": "gdm"}, "gdm.service (gdm)"),
        ({"kind": "unknown", "user": "0"}, "unknown (0)"),
        ({"kind": "nobody"}, "nobody"),
    ],
)
def test_a_holder_in_a_few_words(fields: dict[str, str], told: str) -> None:
    """What people call it, with as much as is known."""
    names = ("user", "job", "sluid", "pod", "pod_uid", "namespace", "container", "container_name", "runtime", "unit")
    assert holder_text(dict.fromkeys(names) | fields) == told


def test_hours() -> None:
    """Few digits where there are many hours, more where there are few."""
    assert [hours(seconds) for seconds in (0, 36, 3600, 36_000, 3.6e7)] == ["0.0", "0.01", "1.00", "10.0", "10 000.0"]
