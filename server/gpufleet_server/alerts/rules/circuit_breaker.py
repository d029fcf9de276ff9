"""So much of the fleet would fire one rule at once that its alerts are held back, and this one stands for them.

Mostly that is no failure of so many GPUs: a driver or firmware that reports something new, a threshold that was set
wrong, the network between agents and servers, a site without power.

**What to do.** `gpufleet alerts test RULE --at 0s` lists the subjects. If they are all meant, raise `share` of the rule
in the file of overrides: they are then told one by one. If they are not, set its thresholds, or turn it off for the
model or site concerned.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    run = sight.runs()
    told = sight.about(run, run.c.held_back, run.c.rule, run.c.fleet, key=run.c.rule)
    # Not before its alerts would have fired one by one.
    return told.where(run.c.held_back > 0, run.c.ran_at - run.c.held_since >= run.c.wait * 1_000_000)


RULE = Rule(
    name="circuit_breaker",
    severity=Severity.CRITICAL,
    scope=Scope.FLEET,
    condition=_condition,
    text="{rule} would fire for {value:.0f} of {fleet} at once; its alerts are held back and this one stands for them",
    advice="Find what they have in common: a driver, a threshold, a network, a site.",
    needs=Needs.NOTHING,
    keep=60,
    key_label="held_rule",
    share=None,
    labels={"category": "gpufleet"},
    source="NVSentinel stops cordoning at half of its nodes in 5 minutes.",
)
