"""A rule could not be evaluated several times in a row: what it watches over is not watched.

Its alerts stay as they were. The other rules go on.

**What to do.** The alert has the error; the server's log has where it comes from. After an upgrade see that all servers
run the same version and that `gpufleet db migrate` has run. A rule can be turned off in the file of overrides
(`enabled = false`) until it is mended.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    run = sight.runs()
    told = sight.about(run, run.c.failures, run.c.rule, run.c.error, key=run.c.rule)
    return told.where(run.c.failures >= run.c.limit_failures)


RULE = Rule(
    name="rule_failing",
    severity=Severity.WARNING,
    scope=Scope.FLEET,
    condition=_condition,
    text="rule {rule} has failed {value:.0f} times in a row: {error}",
    advice="Look at the server's log; turn the rule off until it is mended.",
    needs=Needs.NOTHING,
    keep=60,
    thresholds={"failures": Threshold(3, "times", "One may be the database's, three are the rule's.")},
    key_label="failing_rule",
    share=None,
    labels={"category": "gpufleet"},
)
