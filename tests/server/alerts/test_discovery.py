"""Rules are found in their package; one that can't be had stops no other."""

import sys
from pathlib import Path

import pytest
from gpufleet_server.alerts import rules
from gpufleet_server.alerts.discovery import every_rule, runbook
from gpufleet_server.alerts.engine import Engine
from gpufleet_server.alerts.overrides import usual
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.store.alerts import alerts, rule_runs
from gpufleet_server.store.engine import Store
from sqlalchemy import select

_NOW = 1_790_000_000 * SECOND


@pytest.mark.parametrize("broken", ["import nothing_of_this_name", "def condition(:", "RULE = 1", ""])
def test_a_module_that_is_broken_is_a_rule_that_fails(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The others are there and evaluated, and an alert tells of it."""
    whole = every_rule()
    (tmp_path / "damaged.py").write_text(broken)
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{rules.__name__}.damaged", raising=False)
    found = every_rule.__wrapped__()
    assert found.keys() - whole.keys() == {"damaged"}
    assert runbook("damaged") == ""
    chosen = {name: found[name] for name in ("damaged", "rule_failing", "gpu_lost")}
    engine = Engine(store, usual(chosen))
    for number in range(8):
        engine.round(_NOW + number * 60 * SECOND)
    with store.reading() as connection:
        failing = {row.rule: row.failures for row in connection.execute(select(rule_runs))}
        (told,) = connection.execute(select(alerts.c.text).where(alerts.c.rule == "rule_failing")).scalars()
    assert failing == {"damaged": 8, "rule_failing": 0, "gpu_lost": 0}
    assert "damaged" in told
