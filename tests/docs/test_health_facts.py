"""docs/health-facts.md names what there is, and leaves out nothing that is sent on change."""

import re
from pathlib import Path

import pytest
from gpufleet_agent.catalogue import BY_NAME, ON_CHANGE
from gpufleet_agent.wire import Gpu, Host, Report

PAGE = (Path(__file__).parents[2] / "docs/health-facts.md").read_text()
NAMES = sorted(
    {
        name
        for line in PAGE.splitlines()
        if line.startswith("| ") and line.count("|") == 5 and "| name |" not in line
        for name in re.findall(r"`([^`]+)`", line.split("|")[2])
    }
)
EVENTS = {"xid", "sxid", "gpu_lost", "gpu_returned", "gpu_recovery_action", "driver_failed", "implausible"}
KNOWN = EVENTS | {*BY_NAME, *Gpu.__struct_fields__, *Host.__struct_fields__, *Report.__struct_fields__}


def pattern(name: str) -> re.Pattern[str]:
    """A name as the page writes it: `{a,b}` is either, `[a]` may be left out, `*` is anything."""
    name = re.sub(r"\{([^}]+)\}", lambda found: f"({found[1].replace(',', '|')})", name)
    return re.compile(name.replace("[", "(").replace("]", ")?").replace("*", r"\w+"))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_one(name: str) -> None:
    """A metric, a field of the roster or the report, or the kind of an event."""
    assert any(pattern(name).fullmatch(known) for known in KNOWN)


def test_nothing_is_left_out() -> None:
    """Whatever is sent on change is there."""
    patterns = [pattern(name) for name in NAMES]
    assert not [metric.name for metric in ON_CHANGE if not any(each.fullmatch(metric.name) for each in patterns)]
