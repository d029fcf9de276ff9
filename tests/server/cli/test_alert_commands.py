"""`gpufleet alerts receivers`, `deliveries` and `export`, as people call them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from gpufleet_server.domain import clock
from gpufleet_server.store import deliveries
from gpufleet_server.store.deliveries import New

from tests.e2e.stack import Server, opened, server
from tests.server.alerts.delivery.hook import Hook, hook
from tests.server.cli.processes import Env, call, environment, run


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """An environment without a server."""
    return environment(tmp_path)


@pytest.fixture(name="hook")
def answering() -> Iterator[Hook]:
    """Somebody to be told."""
    with hook() as it:
        yield it


@pytest.fixture
def receivers(hook: Hook, tmp_path: Path) -> Path:
    """A file of receivers."""
    file = tmp_path / "receivers.toml"
    file.write_text(
        f'[alertmanager.main]\nurls = ["{hook.url}"]\n'
        f'[webhook.tickets]\nurl = "{hook.url}/tickets"\nsecret_env = "GPUFLEET_TEST_SECRET"\n'
    )
    return file


def test_check(env: Env, receivers: Path, tmp_path: Path) -> None:
    """Lists the receivers; a missing secret is status 1, a wrong file 2."""
    missing = run("alerts", "receivers", "check", "--receivers", str(receivers), env=env, status=1)
    assert "tickets: secret_env: the environment has no GPUFLEET_TEST_SECRET" in missing.stderr
    good = {**env, "GPUFLEET_TEST_SECRET": "s", "GPUFLEET_RECEIVERS": str(receivers)}
    found = json.loads(call("alerts", "receivers", "check", "--json", env=good).stdout)
    assert [(one["name"], one["kind"]) for one in found["receivers"]] == [
        ("main", "alertmanager"),
        ("tickets", "webhook"),
    ]
    (tmp_path / "wrong.toml").write_text("[alertmanager.main]\nurl = 1")
    wrong = run("alerts", "receivers", "check", "--receivers", str(tmp_path / "wrong.toml"), env=env, status=2)
    assert "wrong.toml" in wrong.stderr
    assert "unknown field `url`" in wrong.stderr


def test_try_one_out(env: Env, receivers: Path, hook: Hook) -> None:
    """It is told of an alert that is none, and of its end; one that refuses is status 1."""
    given = {**env, "GPUFLEET_TEST_SECRET": "s", "GPUFLEET_RECEIVERS": str(receivers)}
    assert "/tickets takes it" in call("alerts", "receivers", "test", "tickets", env=given).stderr
    call("alerts", "receivers", "test", "main", env=given)
    assert [request.path for request in hook.requests] == ["/tickets"] * 2 + ["/api/v2/alerts"] * 2
    assert [request.json["change"] for request in hook.requests[:2]] == ["firing", "resolved"]
    hook.says(403, "no")
    assert "answers 403: no" in run("alerts", "receivers", "test", "main", env=given, status=1).stderr
    assert "it has main, tickets" in run("alerts", "receivers", "test", "pager", env=given, status=2).stderr


def test_export(env: Env, tmp_path: Path) -> None:
    """On stdout, or into a folder that is made; what is set otherwise is in it."""
    rules = yaml.safe_load(call("alerts", "export", "prometheus", env=env).stdout)["groups"][0]["rules"]
    assert "gpu_lost" in [rule["alert"] for rule in rules]
    (tmp_path / "rules.toml").write_text("[rules.gpu_lost]\nenabled = false")
    options = ("--out", str(tmp_path / "a" / "b"), "--alert-rules", str(tmp_path / "rules.toml"), "--datasource", "pg")
    call("alerts", "export", "grafana", *options, env=env)
    written = (tmp_path / "a" / "b" / "gpufleet-alerts.yml").read_text()
    assert "GRANT SELECT ON" in written.splitlines()[1]
    group = yaml.safe_load(written)["groups"][0]
    assert "gpu_lost" not in [rule["title"] for rule in group["rules"]]
    assert group["rules"][0]["data"][0]["datasourceUid"] == "pg"
    (tmp_path / "rules.toml").write_text("[rules.gpu_los]")
    wrong = run("alerts", "export", "grafana", "--alert-rules", str(tmp_path / "rules.toml"), env=env, status=2)
    assert "did you mean gpu_lost" in wrong.stderr


def test_deliveries(env: Env, tmp_path: Path) -> None:
    """Listed with why they failed; dead ones are tried again for an administrator."""
    with server(tmp_path) as it:
        _one_dead(it)
        reader = {**env, "GPUFLEET_SERVER": it.url, "GPUFLEET_TOKEN": it.token("reader")}
        shown = call("alerts", "deliveries", env=reader)
        assert "answers 400" in shown.stdout
        assert "tickets: 1 waiting, 1 dead" in shown.stderr
        assert [one["alert"] for one in _items(reader, "--state", "dead")] == [1]
        run("alerts", "deliveries", "--retry", "all", env=reader, status=1)
        admin = {**reader, "GPUFLEET_TOKEN": it.token("admin")}
        run("alerts", "deliveries", "--retry", "x", env=admin, status=2)
        assert "1 will be tried again" in call("alerts", "deliveries", "--retry", "all", env=admin).stderr
        assert "none of these is dead" in run("alerts", "deliveries", "--retry", "1", env=admin, status=1).stderr
        assert _items(reader, "--state", "dead") == []


def _items(env: Env, *options: str) -> list[dict[str, object]]:
    return list(json.loads(call("alerts", "deliveries", "--json", *options, env=env).stdout)["items"])


def _one_dead(it: Server) -> None:
    now = clock.now()
    with opened(it.database) as store, store.writing() as connection:
        deliveries.add(connection, "tickets", [New(1, "firing", {}), New(2, "firing", {})], now, now + 10**9)
        deliveries.finish(connection, deliveries.take(connection, "tickets", now, now + 1, 1), now, error="answers 400")
