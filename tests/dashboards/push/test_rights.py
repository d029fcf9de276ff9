"""Rights: scopes with and without wildcards."""

import pytest
from gpufleet_dashboards.push.rights import Need, lacking

CREATE = Need(("dashboards:create",), ("folders:uid:gpu",))


@pytest.mark.parametrize("scope", ["*", "folders:*", "folders:uid:*", "folders:uid:gpu", ""])
def test_scopes_that_cover(scope: str) -> None:
    """Of the thing, of its kind, of all."""
    assert CREATE.met({"dashboards:create": [scope]})


@pytest.mark.parametrize("scope", ["folders:uid:gp", "folders:uid:gpus", "dashboards:*"])
def test_scopes_that_do_not(scope: str) -> None:
    """Of others."""
    assert not CREATE.met({"dashboards:create": [scope]})


def test_any_of_several_actions_will_do() -> None:
    """And what lacks is told once."""
    need = Need(("a:write", "b:write"))
    assert lacking({"b:write": []}, [need]) == []
    assert lacking({"c:write": ["*"]}, [need, need]) == ["a:write or b:write"]
