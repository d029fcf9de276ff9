"""Sums of the range by owner, or kind of owner: of weeks, days, six hours and hours, and in part of what it cuts.

Late reports change hours at once and a day some minutes later, when it is added up again: for so long the two may
differ. Days of which nobody knows yet whether they are complete are read from hours. Of weeks and six hours there is
all of their days, or hours, or nothing.
"""

from collections.abc import Mapping, Sequence

from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views.usage_days import VIEW as USAGE_DAYS
from gpufleet_server.store.grafana.views.usage_hours import VIEW as USAGE_HOURS
from gpufleet_server.store.grafana.views.usage_kind_days import VIEW as USAGE_KIND_DAYS
from gpufleet_server.store.grafana.views.usage_kind_hours import VIEW as USAGE_KIND_HOURS
from gpufleet_server.store.grafana.views.usage_places import VIEW as USAGE_PLACES
from gpufleet_server.store.grafana.views.usage_six_hours import VIEW as USAGE_SIX_HOURS
from gpufleet_server.store.grafana.views.usage_weeks import VIEW as USAGE_WEEKS

from gpufleet_dashboards.everything import PLACES_CHOSEN
from gpufleet_dashboards.sql import BEGIN, DAY_MS, END, HOUR_MS, INTERVAL_MS, NOW_US, Branch, Tier, chosen

# Hours, and from which interval on days.
_DAYS_FROM_MS = 2 * HOUR_MS
_HOUR, _SIX_HOURS, _DAY, _WEEK = (f"{length * 1000}::bigint" for length in (HOUR_MS, 6 * HOUR_MS, DAY_MS, 7 * DAY_MS))
# Asked for once, and not for each row.
_NOW, _UNTIL = f"(SELECT {NOW_US})", f"(SELECT least({END}, {NOW_US}))"
# A day is added up some minutes after its end, and that takes a while. Views do not tell which days are due.
_SETTLED = f"{NOW_US} - 3 * {_HOUR}"
_AT = USAGE_HOURS["at"]


def tiers(hours: View, days: View) -> tuple[Tier, Tier]:
    """Views of hours and of days of the same, as intervals ask for them."""
    return Tier(hours, HOUR_MS, _DAYS_FROM_MS), Tier(days, DAY_MS)


def by_owner(cut: Sequence[str], whole: Sequence[str] = ()) -> str:
    """Sums of columns by `owner_id`, a row or some each; `cut` in proportion where the range cuts an hour, or day."""
    views = {"weeks": USAGE_WEEKS, "days": USAGE_DAYS, "six_hours": USAGE_SIX_HOURS, "hours": USAGE_HOURS}
    return _summed("owner_id", views, tiers(USAGE_HOURS, USAGE_DAYS), cut, whole)


def by_kind(cut: Sequence[str]) -> str:
    """The same by `kind` of owner."""
    views = {"all_days": USAGE_KIND_DAYS, "ends": USAGE_KIND_HOURS}
    return _summed("kind", views, tiers(USAGE_KIND_HOURS, USAGE_KIND_DAYS), cut, ())


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


def _bound(value: str) -> str:
    """Asked for once, and not for each row."""
    return f"(SELECT {value} FROM bounds)"


def _begins(step: str, first: str, end: str) -> str:
    """Rows `at`: when what is so long begins, of all that lies from `first` to `end`, both of which are such times."""
    return f"generate_series({_bound(first)}, {_bound(end)} - {step}, {step}) AS begins (at)"


def _there(view: View, at: str) -> str:
    # A select of its own looks into the index; as a join PostgreSQL may read all that there is.
    return f"(SELECT 1 FROM {view} AS there WHERE there.{view['at']} = {at} LIMIT 1) IS NOT NULL"


_HOURS_ASKED, _DAYS_ASKED = f"{INTERVAL_MS} < {_DAYS_FROM_MS}", f"{INTERVAL_MS} >= {_DAYS_FROM_MS}"
_OLDEST_HOUR, _OLDEST_DAY = (f"(SELECT {_AT} FROM {view} ORDER BY {_AT} LIMIT 1)" for view in (USAGE_HOURS, USAGE_DAYS))
# `first` to `last`: the days that lie within the range; `from_hour` to `to_hour`: the hours that do. The latter of each
# may be before the former. From `kept` on, a midnight, hours are there. They are kept for less long than days are; what
# there is of the first day of all is all of it. Hours of no day are those of the ends: before `first`, after `last`.
_BOUNDS = f"""WITH oldest AS MATERIALIZED (SELECT {_OLDEST_HOUR} AS hour, {_OLDEST_DAY} AS day),
bounds AS MATERIALIZED (
  SELECT {_up(BEGIN, _DAY)} AS first, {_down(f"least({END}, {_SETTLED})", _DAY)} AS last,
    {_up(BEGIN, _HOUR)} AS from_hour, {_down(f"least({END}, {NOW_US})", _HOUR)} AS to_hour,
    coalesce(CASE WHEN day < {_down("hour", _DAY)} THEN {_up("hour", _DAY)} ELSE {_down("hour", _DAY)} END,
      {_up(END, _DAY)}) AS kept,
    {PLACES_CHOSEN} AS everywhere
  FROM oldest
), weeks AS MATERIALIZED (
  SELECT at FROM {_begins(_WEEK, _up("first", _WEEK), _down("last", _WEEK))} WHERE {_there(USAGE_WEEKS, "begins.at")}
), all_days AS MATERIALIZED (
  SELECT at FROM {_begins(_DAY, "first", "last")}
), days AS MATERIALIZED (
  SELECT at FROM all_days WHERE {_down("at", _WEEK)} NOT IN (SELECT at FROM weeks)
), ends AS MATERIALIZED (
  SELECT at FROM {_begins(_HOUR, "greatest(from_hour, kept)", "to_hour")}
  WHERE {_HOURS_ASKED} AND (at < {_bound("first")} OR at >= {_bound("last")})
), six_hours AS MATERIALIZED (
  SELECT at FROM (SELECT {_down("at", _SIX_HOURS)} AS at FROM ends GROUP BY 1 HAVING count(*) = 6) AS begins
  WHERE {_there(USAGE_SIX_HOURS, "begins.at")}
), hours AS MATERIALIZED (
  SELECT at FROM ends WHERE {_down("at", _SIX_HOURS)} NOT IN (SELECT at FROM six_hours)
)
"""
_KEPT = f"{_HOURS_ASKED} AND {_AT} >= {_bound('kept')}"
_CUT_HOURS = f"""{_KEPT} AND (
  {_AT} > {BEGIN} - {_HOUR} AND {_AT} < {_bound(f"least(from_hour, {END})")}
  OR {_AT} >= {_bound("greatest(from_hour, to_hour)")} AND {_AT} < {END})"""
_CUT_DAYS = f"""{_AT} > {BEGIN} - {_DAY} AND ({_AT} < {_bound("first")} OR {_AT} >= {_bound("last")})
  AND {_AT} < CASE WHEN {_DAYS_ASKED} THEN {END} ELSE {_bound(f"least({END}, kept)")} END"""
_PLACES = f"SELECT {USAGE_PLACES['place_id']} FROM {USAGE_PLACES} WHERE {chosen(USAGE_PLACES, 'site', 'model')}"
_HERE = f"({_bound('everywhere')} OR {USAGE_HOURS['place_id']} = ANY (ARRAY({_PLACES})))"


def _summed(
    key: str, views: Mapping[str, View], cut_views: tuple[Tier, Tier], cut: Sequence[str], whole: Sequence[str]
) -> str:
    """Of views what begins as a list of their name says, and of hours and days what the range cuts."""
    parts = [_all_of(key, begins, view, (*cut, *whole)) for begins, view in views.items()]
    ends = zip(cut_views, (_CUT_HOURS, _CUT_DAYS), strict=True)
    parts += [_some_of(key, Branch(tier, 0), when, cut, whole) for tier, when in ends]
    return _BOUNDS + "\nUNION ALL\n".join(parts)


def _all_of(key: str, begins: str, view: View, columns: Sequence[str]) -> str:
    """Of rows that count in full: those that begin as a list says."""
    sums = ", ".join(f"sum({view[name]}) AS {name}" for name in columns)
    return f"""SELECT {view[key]}, {sums} FROM {view}
WHERE {view["at"]} = ANY (ARRAY(SELECT at FROM {begins})) AND {_HERE} GROUP BY 1"""


def _some_of(key: str, branch: Branch, when: str, cut: Sequence[str], whole: Sequence[str]) -> str:
    """Of rows that the range cuts."""
    sums = [f"sum({branch[name]} * {part(branch)}) AS {name}" for name in cut]
    sums += [f"sum({branch[name]}) AS {name}" for name in whole]
    return f"""SELECT {branch[key]}, {", ".join(sums)} FROM {branch}
WHERE {_HERE} AND {when} GROUP BY 1"""
