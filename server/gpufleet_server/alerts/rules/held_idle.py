"""A job, pod or session has held GPUs for hours without running anything on them: others wait for what nobody uses.

The alert names who, on how many GPUs, and for how long; it is one alert for a job however many GPUs it has.

**What to do.** Ask its owner. Mostly it is a notebook that was left open, a job that waits for its data or for a
process that has died, or one that asked for more GPUs than its program knows how to use. A service that waits for
requests by night is meant to be there: silence it by its labels. Allocations without any process are not seen here.
"""

from typing import Any

from sqlalchemy import Float, Select, cast, func, null, select

from gpufleet_server.alerts import use, workload
from gpufleet_server.alerts.limits import PREFIX
from gpufleet_server.alerts.rule import KEY, Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

_DAY_S = 86_400
# A holder whose last interval ended earlier than this, µs, has gone; intervals come some minutes late.
_GONE = 900 * 1_000_000
_NAMED = ("kind", "user", "job", "namespace", "pod", "container_name", "unit", "command")


def _condition(sight: Sight) -> Select[Any]:
    gpu, had = sight.observed(*use.METRICS, where=use.held), sight.usage(within=_DAY_S)
    limit = PREFIX + "idle"
    each = (
        select(gpu.c.gpu_id, gpu.c.node_id, had.c.holder_id, *(func.min(had.c[name]).label(name) for name in _NAMED))
        .add_columns(func.sum(had.c.held).label("held"), func.min(gpu.c.site).label("site"))
        .join_from(gpu, had, had.c.gpu_id == gpu.c.gpu_id)
        .where(had.c.kind.not_in(("nobody", "unknown")))
        .group_by(gpu.c.gpu_id, gpu.c.node_id, had.c.holder_id)
        .having(func.sum(had.c.held) >= func.min(gpu.c[limit]), func.max(had.c.end) > sight.at - _GONE)
        .subquery("each")
    )
    one = {name: func.min(each.c[name]).label(name) for name in (*_NAMED, "site")}
    holder = (
        select(each.c.holder_id, *one.values(), func.count().label("gpus"), func.min(each.c.held).label("least"))
        .add_columns(func.count(each.c.node_id.distinct()).label("nodes"))
        .group_by(each.c.holder_id)
        .subquery("holder")
    )
    hours = cast(holder.c.least, Float(53)) / 3600
    return select(
        *(holder.c[name] for name in ("user", "job", "namespace", "gpus", "nodes", "site")),
        holder.c.holder_id.label(KEY),
        null().label("node_id"),
        workload.name(holder.c).label("who"),
        hours.label("value"),
    )


RULE = Rule(
    name="held_idle",
    severity=Severity.INFO,
    scope=Scope.FLEET,
    condition=_condition,
    text="{who} holds {gpus} GPUs on {nodes} nodes and runs nothing on them, for {value:.1f} h of the last day",
    advice="Ask its owner whether it still needs them.",
    needs=Needs.NOTHING,
    every=300,
    wait=3600,
    keep=1800,
    thresholds={
        "idle": Threshold(
            3600,
            "s",
            "With the hour that it must last, two: docs/adr/0008, and where Princeton ends such jobs; gpuledger: six.",
        )
    },
    key_label="holder",
    labels={"category": "use"},
    share=None,
)
