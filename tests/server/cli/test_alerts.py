"""`gpufleet alerts` against a real server to which a node reports that loses a GPU."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from gpufleet_server.simulate.agent import now
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.fleet import Fleet
from gpufleet_server.simulate.plan import fleet

from tests.e2e.stack import server, wait_for
from tests.server.cli.processes import Env, call, environment, reporting

SECOND = 1_000_000


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Env]:
    """An environment with an administrator's token for a server that has an alert."""
    folder = tmp_path_factory.mktemp("alerts")
    node = fleet(11, 4, now(), faults=False)[0]
    with ExitStack() as stack:
        it = stack.enter_context(server(folder))
        at = now() + 3 * SECOND
        # One that came before its agent is there is told by nobody.
        xid = Fault(FaultKind.XID, at + 20 * SECOND, gpu=1, code=48)
        node = replace(node, faults=(Fault(FaultKind.LOST, at, gpu=0), xid))
        given = environment(folder, GPUFLEET_SERVER=it.url, GPUFLEET_TOKEN=it.token("admin"))
        agents = Fleet([node], it.url, it.token("join"), interval=1000, every=1000)
        stack.enter_context(reporting(agents))
        wait_for("the alert", lambda: [one for one in _items(given) if one["rule"] == "gpu_lost"])
        yield given


def _items(env: Env, *arguments: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(call("alerts", *arguments, "--json", env=env).stdout)["items"]
    return items


def _lost(env: Env) -> str:
    return str(next(one["id"] for one in _items(env, "--rule", "gpu_lost")))


def test_what_fires_is_listed(env: Env) -> None:
    """With where it is, and what; nothing where nothing matches, which is said."""
    shown = call("alerts", env=env).stdout
    assert "gpu_lost" in shown
    assert "has fallen off the bus" in shown
    none = call("alerts", "--pending", "--site", "nowhere", env=env)
    assert (none.stdout, none.stderr) == ("", "no alert matches\n")


def test_one_is_taken_on_and_its_history_says_so(env: Env) -> None:
    """By whom and why; the runbook stands below."""
    number = _lost(env)
    call("alerts", "ack", number, "--why", "looking", "--by", "ada", env=env)
    shown = call("alerts", "history", number, env=env).stdout
    for word in ("fired", "acknowledged", "ada", "looking", "What to do"):
        assert word in shown
    call("alerts", "ack", "999", "--why", "x", "--by", "ada", env=env, status=1)


def test_what_an_xid_told_of_is_declared_over(env: Env) -> None:
    """The alert ends, and says by whom; one that tells of a state can't be ended by hand."""
    wait_for("the XID's alert", lambda: _items(env, "--rule", "xid_workflow"), 60)
    number = str(_items(env, "--rule", "xid_workflow")[0]["id"])
    assert "declared over" in call("alerts", "resolve", number, "--why", "was reset", "--by", "ada", env=env).stdout
    wait_for("its end", lambda: not _items(env, "--rule", "xid_workflow"), 60)
    refused = call("alerts", "resolve", _lost(env), "--why", "x", "--by", "ada", env=env, status=1)
    assert "end when what they tell of ends" in refused.stderr


def test_a_silence_is_made_and_ended(env: Env) -> None:
    """Of an alert by its labels; one that says too little is refused."""
    call("alerts", "silence", "--alert", _lost(env), "--why", "known", "--by", "ada", env=env)
    (made,) = json.loads(call("alerts", "silences", "--json", env=env).stdout)["items"]
    assert made["matchers"]["alertname"] == "gpu_lost"
    call("alerts", "silence", "--end", str(made["id"]), "--by", "ada", env=env)
    assert call("alerts", "silences", env=env).stdout == ""
    window = call("alerts", "maintenance", "--node", "a", "--node", "b", "--why", "move", "--by", "ada", env=env)
    assert window.stderr.count("maintenance ") == 2
    for given in (["hostname=x"], ["hostname", "--why", "x"], ["--why", "x"]):
        call("alerts", "silence", *given, env=env, status=2)
    everything = call("alerts", "silence", "hostname=*", "--why", "x", "--by", "ada", env=env, status=2)
    assert "a silence of everything" in everything.stderr


def test_rules_are_told_and_tried(env: Env) -> None:
    """Their thresholds and last runs; what one says now; one that is not there is named."""
    assert "margin 2 °C" in call("alerts", "rules", env=env).stdout
    assert "What to do" in call("alerts", "rules", "hot_against_limits", env=env).stdout
    tried = call("alerts", "test", "gpu_lost", env=env)
    assert "firing" in tried.stdout
    unknown = call("alerts", "test", "gpu_los", env=env, status=1)
    assert "near it: gpu_lost" in unknown.stderr
