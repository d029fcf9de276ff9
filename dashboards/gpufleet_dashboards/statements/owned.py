"""Whose GPU time it was: the fleet's usage by the hour, over wide ranges by the day, and its worst workloads.

An hour, or day, that the range cuts counts in proportion.
"""

from collections.abc import Callable

from gpufleet_server.store.grafana.views.owners import VIEW as OWNERS
from gpufleet_server.store.grafana.views.usage_kind_days import VIEW as USAGE_KIND_DAYS
from gpufleet_server.store.grafana.views.usage_kind_hours import VIEW as USAGE_KIND_HOURS
from gpufleet_server.store.grafana.views.waste_days import VIEW as WASTE_DAYS
from gpufleet_server.store.grafana.views.waste_hours import VIEW as WASTE_HOURS

from gpufleet_dashboards import units
from gpufleet_dashboards.everything import at_chosen
from gpufleet_dashboards.query import TIME, Column, Query, number, text
from gpufleet_dashboards.sql import BEGIN, END, Branch, Columns, as_time, by_tier
from gpufleet_dashboards.statements import owned_days
from gpufleet_dashboards.statements.held import named
from gpufleet_dashboards.statements.owned_days import part, step_us

_KINDS = owned_days.tiers(USAGE_KIND_HOURS, USAGE_KIND_DAYS)
_WASTE = owned_days.tiers(WASTE_HOURS, WASTE_DAYS)
_MOST = 100

HOURS = {
    "total": number(units.GPU_HOURS, "GPU time", decimals=1),
    "active": number(units.GPU_HOURS, "Active", decimals=1),
    "held": number(units.GPU_HOURS, "Held, nothing ran", decimals=1),
    "share": number(units.SHARE, "Share held", decimals=0),
}


def by(title: str, name: Callable[[Columns], str]) -> Query:
    """GPU-hours by owner, called by `name` (SQL); those that held most without running first."""

    # Added up by number first: there are many rows, and few owners.
    had = owned_days.by_owner(("active_seconds", "held_seconds"), ("activity_sum", "activity_seconds"))
    sql = f"""WITH had AS MATERIALIZED (
{had}
), named AS (
  SELECT {name(OWNERS)} AS name, sum(active_seconds) / 3600 AS active, sum(held_seconds) / 3600 AS held,
    sum(activity_sum) / nullif(sum(activity_seconds), 0) AS activity
  FROM had JOIN {OWNERS} USING ({OWNERS["owner_id"]}) GROUP BY 1
)
SELECT name, active + held AS total, active, held, {_SHARE}, activity
FROM named ORDER BY held DESC, total DESC, name LIMIT {_MOST}"""
    return Query(sql, {"name": text(title)} | HOURS | {"activity": number(units.SHARE, "Its kernels ran", decimals=0)})


def over_time() -> Query:
    """GPU-hours held of each hour, or day, or interval where that is longer, by kind of owner."""

    def select(branch: Branch) -> str:
        held = f"sum({branch['held_seconds']} * {part(branch)}) / 3600"
        return f"""SELECT {branch.begin_us} AS begin, {branch["kind"]} AS holder, {held} AS held
FROM {branch} WHERE {overlapping(branch)} GROUP BY 1, 2"""

    sql = f"""SELECT {as_time("begin")} AS time, holder, held
FROM ({by_tier(_KINDS, select)}) AS tier ORDER BY 1"""
    return Query(sql, {"time": TIME, "holder": text(), "held": number(units.GPU_HOURS, decimals=1)})


def totals() -> str:
    """A row: seconds `active` and `held` of workloads, of nobody, and of unknown holders."""
    who = {"workloads": "NOT IN ('nobody', 'unknown')", "nobody": "= 'nobody'", "unknown": "= 'unknown'"}
    sums = ", ".join(
        f"coalesce(sum({what}_seconds) FILTER (WHERE kind {kind}), 0) AS {name}_{what}"
        for name, kind in who.items()
        for what in ("active", "held")
    )
    return f"SELECT {sums} FROM ({owned_days.by_kind(('active_seconds', 'held_seconds'))}) AS had"


def worst() -> Query:
    """Workloads that held most without running."""
    names = ("kind", "user_name", "account", "namespace", "model")
    numbers = ("gpus", "nodes")

    def select(branch: Branch) -> str:
        shown = ", ".join(f"max({branch[name]}) AS {name}" for name in (*names, *numbers))
        return f"""SELECT {branch["holder"]} AS name, {shown}, {_hours(branch)}
FROM {branch} WHERE {overlapping(branch)} GROUP BY {branch["holder_id"]}, 1"""

    holder = named({"kind": "kind"}, "name")
    sql = f"""SELECT {holder} AS holder, {", ".join((*names, *numbers))}, active + held AS total, active, held, {_SHARE}
FROM ({by_tier(_WASTE, select)}) AS tier WHERE held > 0 ORDER BY held DESC, name LIMIT {_MOST}"""
    columns: dict[str, Column] = {
        "holder": text("Workload", width=240),
        "kind": text("Kind"),
        "user_name": text("User"),
        "account": text("Account"),
        "namespace": text("Namespace"),
        "model": text("Model"),
        "gpus": number(units.COUNT, "GPUs", width=70),
        "nodes": number(units.COUNT, "Nodes", width=70),
    }
    return Query(sql, columns | HOURS)


def overlapping(branch: Branch) -> str:
    """That this is the tier to read, and that a row's time overlaps the range, at the places that are chosen."""
    at, here = branch["at"], at_chosen(branch)
    return f"{branch.asked} AND {at} > {BEGIN} - {step_us(branch)} AND {at} < {END} AND {here}"


_SHARE = "held / nullif(active + held, 0) AS share"


def _hours(branch: Branch) -> str:
    return ", ".join(
        f"coalesce(sum({branch[f'{what}_seconds']} * {part(branch)}), 0) / 3600 AS {what}"
        for what in ("active", "held")
    )
