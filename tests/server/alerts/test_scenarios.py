"""Every rule in its scenarios, on both engines: which alerts fire, when, and when they end."""

from pathlib import Path

import pytest
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.store.engine import Store

from tests.server.alerts import scenario
from tests.server.alerts.player import Player, is_met


@pytest.mark.parametrize("path", scenario.every(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_scenario(store: Store, path: Path) -> None:
    """The alerts are those that are expected, and no others."""
    given = scenario.read(path)
    player = Player(store, given)
    told = player.play()
    assert not player.error(), player.error()
    missing, others = list(given.expect), list(told)
    for expected in given.expect:
        met = next((one for one in others if is_met(expected, one, given.step)), None)
        if met is not None:
            missing.remove(expected)
            others.remove(met)
    said = "\n".join(map(str, told)) or "none"
    assert not missing and not others, f"{given.about}\nexpected: {missing}\nnot expected: {others}\nall: {said}"


@pytest.mark.parametrize("rule", every_rule())
def test_every_rule_has_scenarios(rule: str) -> None:
    """At least one in which it fires, and one in which it must not."""
    fires = [scenario.read(path).fires for path in scenario.every() if path.parent.name == rule]
    assert True in fires, f"no scenario in which {rule} fires"
    assert False in fires, f"no scenario in which {rule} must not fire"
