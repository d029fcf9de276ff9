"""The rule file for Prometheus: promtool finds nothing wrong with it; each rule fires when it is to and not else."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from gpufleet_agent.catalogue import METRICS
from gpufleet_agent.exposition import series_name
from gpufleet_agent.snapshot import Snapshot
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.export import prometheus
from gpufleet_server.alerts.export.text import text
from gpufleet_server.alerts.overrides import Overrides, parse, usual

from tests.server.alerts.export.cases import CASES

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


@pytest.fixture(scope="module")
def overrides() -> Overrides:
    """All rules as they are."""
    return usual(every_rule())


def rules(overrides: Overrides) -> dict[str, dict[str, Any]]:
    """The rules of the file, by name."""
    (group,) = prometheus.document(overrides)["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def promtool(folder: Path, overrides: Overrides, *arguments: str) -> str:
    """What promtool says of the rule file in a folder, with which all must be well."""
    (folder / prometheus.FILE).write_text(text(prometheus.document(overrides)))
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_promtool_takes_the_file(tmp_path: Path, overrides: Overrides) -> None:
    """All rules are found in it."""
    assert f"{len(rules(overrides))} rules found" in promtool(tmp_path, overrides, "check", "rules", prometheus.FILE)


def test_each_rule_has_a_case(overrides: Overrides) -> None:
    """None is exported that is not tried here."""
    assert set(CASES) == set(rules(overrides))


@needs_promtool
def test_each_rule_fires_when_it_is_to(tmp_path: Path, overrides: Overrides) -> None:
    """promtool feeds it the series of its case."""
    found = rules(overrides)
    tests = [test for name, rule in found.items() for test in _tests(name, rule)]
    file = {"rule_files": [prometheus.FILE], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(file))
    assert "SUCCESS" in promtool(tmp_path, overrides, "test", "rules", "tests.yml")


def _tests(name: str, rule: dict[str, Any]) -> list[dict[str, Any]]:
    case = CASES[name]
    alert = {"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": _annotations(rule, dict(case.labels))}
    return [_test(name, case.minutes, case.fires, [alert]), _test(name, case.minutes, case.quiet, [])]


def _test(name: str, minutes: int, series: Any, alerts: list[dict[str, Any]]) -> dict[str, Any]:
    asked = {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": alerts}
    given = [{"series": one, "values": values} for one, values in series.items()]
    return {"interval": "1m", "input_series": given, "alert_rule_test": [asked]}


def _annotations(rule: dict[str, Any], labels: dict[str, str]) -> dict[str, str]:
    """The annotations with these labels in them."""
    label = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
    return {
        name: label.sub(lambda found: labels.get(found[1], ""), template)
        for name, template in rule["annotations"].items()
    }


def test_only_what_agents_show_is_asked_for(overrides: Overrides) -> None:
    """Every name of ours in an expression is one on the agent's page."""
    own = {fact.name + ("_total" if fact.is_counter else "") for fact in Snapshot().own()}
    shown = own | {"gpufleet_gpu_lost", "gpufleet_gpu_xids_total"}
    shown |= {series_name(metric) for metric in METRICS} | {f"{series_name(metric)}_total" for metric in METRICS}
    for name, rule in rules(overrides).items():
        assert set(re.findall(r"gpufleet_\w+", rule["expr"])) <= shown, name


def test_what_is_set_otherwise_is_exported() -> None:
    """Thresholds, times and severity as they are in force; a rule that is off is left out."""
    said = {
        "hot_against_limits": {"wait": "10m", "severity": "info", "thresholds": {"margin": 5}},
        "gpu_lost": {"enabled": False},
    }
    found = rules(parse({"rules": said}, every_rule()))
    hot = found["hot_against_limits"]
    assert hot["expr"] == "gpufleet_gpu_temperature_margin_celsius <= 5"
    assert (hot["for"], hot["keep_firing_for"], hot["labels"]["severity"]) == ("10m", "5m", "info")
    assert "gpu_lost" not in found
