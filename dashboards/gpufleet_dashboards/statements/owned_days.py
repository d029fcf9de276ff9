"""Sums of the range by owner: whole days of it from days, what is left at its ends from hours, or parts of days.

Late reports change hours at once and a day some minutes later, when it is added up again: for so long the two may
differ. Days of which nobody knows yet whether they are complete are read from hours.
"""

from collections.abc import Sequence

from gpufleet_server.store.grafana.views.usage_days import VIEW as USAGE_DAYS
from gpufleet_server.store.grafana.views.usage_hours import VIEW as USAGE_HOURS

from gpufleet_dashboards.everything import PLACES_CHOSEN, at_chosen
from gpufleet_dashboards.sql import BEGIN, DAY_MS, END, HOUR_MS, NOW_US, Branch, Tier, chosen, likely

_HOURS, _DAYS = Branch(Tier(USAGE_HOURS, HOUR_MS, 2 * HOUR_MS), 0), Branch(Tier(USAGE_DAYS, DAY_MS), 2 * HOUR_MS)
_HOUR, _DAY = (f"{length * 1000}::bigint" for length in (HOUR_MS, DAY_MS))
# Asked for once, and not for each row.
_NOW, _UNTIL = f"(SELECT {NOW_US})", f"(SELECT least({END}, {NOW_US}))"
# A day is added up some minutes after its end, and that takes a while. Views do not tell which days are due.
_SETTLED = f"{NOW_US} - 3 * {_HOUR}"


def by_owner(cut: Sequence[str], whole: Sequence[str] = ()) -> str:
    """Sums of columns by `owner_id`, a row or some each; `cut` in proportion where the range cuts an hour, or day."""
    parts = [_all_of(_DAYS, _WHOLE_DAYS, cut, whole), _all_of(_HOURS, _WHOLE_HOURS, cut, whole)]
    parts += [_some_of(branch, when, cut, whole) for branch, when in ((_HOURS, _CUT_HOURS), (_DAYS, _CUT_DAYS))]
    return _BOUNDS + "\nUNION ALL\n".join(parts)


def part(branch: Branch) -> str:
    """Which part of a row's time, as far as it is over, lies in the range."""
    at, end = branch["at"], f"{branch['at']} + {step_us(branch)}"
    of = f"(least({end}, {_UNTIL}) - greatest({at}, {BEGIN}))::float8 / nullif(least({end}, {_NOW}) - {at}, 0)"
    return f"CASE WHEN {at} >= {BEGIN} AND {end} <= {_UNTIL} THEN 1 ELSE {of} END"


def step_us(branch: Branch) -> str:
    """How far a tier's rows are from each other, µs."""
    return f"{(branch.tier.step_ms or 0) * 1000}::bigint"


def _up(time: str, step: str) -> str:
    return f"(({time} + {step} - 1) / {step} * {step})"


def _down(time: str, step: str) -> str:
    return f"({time} / {step} * {step})"


_AT = _HOURS["at"]
_OLDEST_HOUR, _OLDEST_DAY = (f"(SELECT {_AT} FROM {view} ORDER BY {_AT} LIMIT 1)" for view in (USAGE_HOURS, USAGE_DAYS))
# `first` to `last`: the days that lie within the range; `from_hour` to `to_hour`: the hours that do. The latter of each
# may be before the former. From `kept` on, a midnight, hours are there. They are kept for less long than days are; what
# there is of the first day of all is all of it.
_BOUNDS = f"""WITH oldest AS MATERIALIZED (SELECT {_OLDEST_HOUR} AS hour, {_OLDEST_DAY} AS day),
bounds AS MATERIALIZED (
  SELECT {_up(BEGIN, _DAY)} AS first, {_down(f"least({END}, {_SETTLED})", _DAY)} AS last,
    {_up(BEGIN, _HOUR)} AS from_hour, {_down(f"least({END}, {NOW_US})", _HOUR)} AS to_hour,
    coalesce(CASE WHEN day < {_down("hour", _DAY)} THEN {_up("hour", _DAY)} ELSE {_down("hour", _DAY)} END,
      {_up(END, _DAY)}) AS kept,
    {PLACES_CHOSEN} AS everywhere
  FROM oldest
)
"""


def _bound(value: str) -> str:
    """Asked for once, and not for each row."""
    return f"(SELECT {value} FROM bounds)"


_WHOLE_DAYS = f"{_AT} >= {_bound('first')} AND {_AT} < {_bound('last')}"
_KEPT = f"{_HOURS.asked} AND {_AT} >= {_bound('kept')}"
_WHOLE_HOURS = f"""{_KEPT} AND (
  {_AT} >= {_bound("from_hour")} AND {_AT} < {_bound("least(first, to_hour)")}
  OR {_AT} >= {_bound("greatest(first, last)")} AND {_AT} < {_bound("to_hour")})"""
_CUT_HOURS = f"""{_KEPT} AND (
  {_AT} > {BEGIN} - {_HOUR} AND {_AT} < {_bound(f"least(from_hour, {END})")}
  OR {_AT} >= {_bound("greatest(from_hour, to_hour)")} AND {_AT} < {END})"""
_CUT_DAYS = f"""{_AT} > {BEGIN} - {_DAY} AND ({_AT} < {_bound("first")} OR {_AT} >= {_bound("last")})
  AND {_AT} < CASE WHEN {_DAYS.asked} THEN {END} ELSE {_bound(f"least({END}, kept)")} END"""


def _all_of(branch: Branch, when: str, cut: Sequence[str], whole: Sequence[str]) -> str:
    """Of rows that count in full; where all places are chosen nobody asks of each where it was."""
    sums = ", ".join(f"sum({branch[name]}) AS {name}" for name in (*cut, *whole))
    everywhere = _bound("everywhere")
    return "\nUNION ALL\n".join(
        f"SELECT {branch['owner_id']}, {sums} FROM {branch}\nWHERE {here} AND {when} GROUP BY 1"
        for here in (everywhere, f"NOT {everywhere} AND {likely(chosen(branch, 'site', 'model'))}")
    )


def _some_of(branch: Branch, when: str, cut: Sequence[str], whole: Sequence[str]) -> str:
    """Of rows that the range cuts."""
    sums = [f"sum({branch[name]} * {part(branch)}) AS {name}" for name in cut]
    sums += [f"sum({branch[name]}) AS {name}" for name in whole]
    return f"""SELECT {branch["owner_id"]}, {", ".join(sums)} FROM {branch}
WHERE {at_chosen(branch)} AND {when} GROUP BY 1"""
