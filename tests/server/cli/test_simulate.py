"""`gpufleet simulate` as a real process, against a real server."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import Server, server, wait_for
from tests.ports import free_port
from tests.server.cli.processes import PROGRAM, Env, call, environment, run

QUICK = ("--agents", "5", "--gpus-per-node", "4", "--interval", "1s", "--every", "1s")


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """An environment of its own."""
    return environment(tmp_path)


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Server]:
    """A server on SQLite."""
    with server(tmp_path) as started:
        yield started


def test_a_fleet_reports_and_counts(it: Server, env: Env) -> None:
    """After three seconds all that was made is committed, and the server has those GPUs, marked as simulated."""
    env |= {"GPUFLEET_AGENT_TOKEN": it.token("join")}
    done = run(
        "simulate", "--server", it.url, *QUICK, "--no-faults", "--duration", "3s", "--json", "--report-every", "1s",
        env=env,
    )  # fmt: skip
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["final"] for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    assert (last["agents"], last["gpus"], last["enrolled"]) == (5, 20, 5)
    assert last["made"] == last["committed"] >= 15
    assert (last["waiting"], last["dropped"], last["duplicates"]) == (0, 0, 0)
    assert 20 * 20 <= last["values"] / last["samples"] * 20 <= 20 * 34
    assert 0 < last["ack_ms"]["overall"]["p50"] <= last["ack_ms"]["overall"]["p99"]
    found = it.get("/gpus", it.token("reader"), limit=100)["items"]
    assert len(found) == 20
    assert all(gpu["simulated"] for gpu in found)


def test_a_backlog_is_drained(it: Server, env: Env) -> None:
    """All agents begin with a minute that they could not send; at the end none of it waits."""
    done = run(
        "simulate", "--server", it.url, "--token", it.token("join"), *QUICK, "--offline", "1", "--backlog", "1m",
        "--duration", "1s", "--json", env=env,
    )  # fmt: skip
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["committed"] == last["made"] >= 5 * 60
    assert last["waiting"] == 0


def test_agents_enrol_once(it: Server, env: Env, tmp_path: Path) -> None:
    """With their credentials kept in a private file, a second run needs no enrolment."""
    kept = tmp_path / "credentials.json"
    enrolled = []
    for _ in range(2):
        done = run(
            "simulate", "--server", it.url, "--token", it.token("join"), *QUICK, "--credentials", str(kept),
            "--duration", "1.5s", "--json", env=env,
        )  # fmt: skip
        enrolled.append(json.loads(done.stdout.splitlines()[-1])["enrolled"])
    assert enrolled == [5, 0]
    assert (len(json.loads(kept.read_text())), kept.stat().st_mode & 0o777) == (5, 0o600)


def test_what_is_not_committed_is_told(env: Env) -> None:
    """Nobody listens: status 1 after the grace, and a line that says how much is missing, and why."""
    url = f"http://127.0.0.1:{free_port()}"
    done = run(
        "simulate", "--server", url, "--token", "x", *QUICK, "--duration", "1s", "--grace", "0", env=env, status=1
    )
    assert "reports are not committed and 0 were dropped; last trouble: can't reach 127.0.0.1" in done.stderr


def test_a_join_token_that_is_refused_ends_it(it: Server, env: Env) -> None:
    """Status 1 and the server's own words, long before the end."""
    arguments = ("simulate", "--server", it.url, "--token", "gfj_wrong", *QUICK, "--report-every", "1s")
    assert "the server refuses the join token: HTTP 401" in run(*arguments, env=env, status=1).stderr


def test_ctrl_c_ends_it_well(it: Server, env: Env) -> None:
    """What waits is sent first, the last line tells, and the status is 0."""
    arguments = [
        "simulate",
        "--server",
        it.url,
        "--token",
        it.token("join"),
        *QUICK,
        "--json",
        "--report-every",
        "0.2s",
    ]
    with subprocess.Popen([PROGRAM, *arguments], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout
        wait_for("a report", lambda: json.loads(said.readline())["committed"])
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    last = json.loads(rest.splitlines()[-1])
    assert (last["final"], last["waiting"], process.returncode) == (True, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--token", "x"], "which server"),
        (["--server", "ftp://x", "--token", "x"], "ftp://x"),
        (["--server", "http://x"], "join token"),
        (["--server", "http://x", "--token", "x", "--interval", "0.5s"], "--interval"),
        (["--server", "http://x", "--token", "x", "--interval", "20s", "--every", "10s"], "--every '10s' is not 20s"),
        (["--server", "http://x", "--token", "x", "--duration", "soon"], "--duration"),
        (["--server", "https://x", "--token", "x", "--ca-file", "/nowhere"], "/nowhere"),
    ],
)
def test_wrong_usage(arguments: list[str], told: str, env: Env) -> None:
    """Status 2, and a line that names the option and its value."""
    assert told in call("simulate", *arguments, env=env, status=2).stderr
