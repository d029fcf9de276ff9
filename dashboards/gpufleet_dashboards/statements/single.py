"""Single GPUs over time: samples while the range is narrow, then their hours, then their days."""

from collections.abc import Callable, Sequence

from gpufleet_agent.catalogue import BY_NAME, Metric, Rollup, Unit, Use
from gpufleet_server.store.grafana.views.daily import VIEW as DAILY
from gpufleet_server.store.grafana.views.hourly import VIEW as HOURLY
from gpufleet_server.store.grafana.views.samples import VIEW as SAMPLES

from gpufleet_dashboards import units
from gpufleet_dashboards.kinds import NOUGHT
from gpufleet_dashboards.query import TIME, Column, Query, number, text
from gpufleet_dashboards.sql import BEGIN, DAY_MS, END, HOUR_MS, MINUTE_MS, NOW_US, Branch, Tier, as_time, by_tier
from gpufleet_dashboards.statements.gaps import ended
from gpufleet_dashboards.statements.use import NEEDED, use_of_sample

# Samples up to some hours: each is unpacked from its block, which takes its time.
_TIERS = (Tier(SAMPLES, None, 2 * MINUTE_MS), Tier(HOURLY, HOUR_MS, 12 * HOUR_MS), Tier(DAILY, DAY_MS, None))
# How late a sample may be, s: it is reported within ten, or two of its intervals.
_LATE_S = 60
# When the range ends, or now: what is not told by then is not told.
_UNTIL = f"least(now(), {as_time(END)})"
# Grafana puts series in the order of their labels, as texts: 10 would come before 2.
_POSITION = "coalesce(lpad(position::text, greatest(2, length(position::text))), '?') AS position"
# Which rows: a condition on a view's columns.
Where = Callable[[Branch], str]


def rolled(each: Metric) -> str:
    """A metric over rows of samples or rollups that have it and `duration`; of what adds up, so much a second."""
    name, known = each.name, f"nullif(sum(duration) FILTER (WHERE {each.name} IS NOT NULL), 0)"
    return {
        Rollup.MEAN: f"(sum({name} * duration) / {known})::float8",
        Rollup.SUM: f"(sum({name}) / {known})::float8",
        Rollup.MAX: f"max({name})::float8",
        Rollup.MIN: f"min({name})::float8",
        Rollup.LAST: f"((array_agg({name} ORDER BY at DESC))[1])::float8",
        Rollup.ANY: f"bit_or({name})::float8",
    }[each.rollup]


def unit_of_rolled(each: Metric) -> str:
    """Grafana's unit of what `rolled` gives."""
    if each.rollup is Rollup.SUM:
        return {Unit.BYTE: units.BYTES_PER_SECOND, Unit.JOULE: units.WATT}.get(each.unit, units.PER_SECOND)
    return units.unit_of(each)


def wide(where: Where, values: dict[str, str], needs: Sequence[str]) -> str:
    """A column for each value, which is SQL over rows that have `at`, `duration` and the columns `needs`."""
    listed = ", ".join(f"{value} AS {name}" for name, value in values.items())

    def select(branch: Branch) -> str:
        rows = _told(branch, where, needs)
        return f"SELECT {branch.time} AS time, {listed}, {_step(branch)} AS step\nFROM {rows} GROUP BY 1"

    return ended(by_tier(_TIERS, select), (), tuple(values), _UNTIL)


def metrics(where: Where, listed: Sequence[Metric]) -> Query:
    """Metrics of one GPU, a column each."""
    columns = {each.name: number(unit_of_rolled(each)) for each in listed}
    sql = wide(where, {each.name: rolled(each) for each in listed}, [each.name for each in listed])
    return Query(sql, {"time": TIME} | columns)


def side_by_side(
    where: Where, value: Callable[[Branch], str], needs: Sequence[str], column: Column, *, at_end: bool = False
) -> Query:
    """A value of several GPUs, a series each, with the GPU's position in its node and its UUID as labels.

    `at_end`: the time is when an interval ends, not when it begins.
    """

    def select(branch: Branch) -> str:
        rows = _told(branch, where, ("position", "gpu", *needs))
        time = f"{branch.time} + {branch.seconds} * interval '1 second'" if at_end else branch.time
        return f"""SELECT {time} AS time, {_POSITION}, gpu,
  {value(branch)} AS value, {_step(branch)} AS step
FROM {rows} GROUP BY 1, 2, 3"""

    sql = ended(by_tier(_TIERS, select), ("position", "gpu"), ("value",), _UNTIL)
    return Query(sql, {"time": TIME, "position": text(), "gpu": text(), "value": column})


def metric_of_each(where: Where, name: str) -> Query:
    """A metric of several GPUs, a series each."""
    each = BY_NAME[name]
    return side_by_side(where, lambda _: rolled(each), (name,), number(unit_of_rolled(each)))


def cells_of_each(where: Where, name: str) -> Query:
    """The same for a panel of heat: by when an interval ends, and what is 0 as the little more that is shown."""
    each = BY_NAME[name]
    column = number(unit_of_rolled(each))
    return side_by_side(where, lambda _: f"{rolled(each)} + {NOUGHT}", (name,), column, at_end=True)


def use_of_each(where: Where) -> Query:
    """What each of several GPUs was used for most of an interval: the number of a Use."""

    def select(branch: Branch) -> str:
        return f"""SELECT {branch.time} AS time, {_POSITION}, gpu,
  {_most(_seconds_by_use(branch))} AS value, {_step(branch)} AS step
FROM {_told_with_use(branch, where)} GROUP BY 1, 2, 3"""

    sql = ended(by_tier(_TIERS, select), ("position", "gpu"), ("value",), _UNTIL)
    return Query(sql, {"time": TIME, "position": text(), "gpu": text(), "value": number(units.PLAIN)})


def seconds_by_use(where: Where) -> str:
    """Of one GPU, which share (0 to 1) of an interval's samples it was in each use, a column each."""

    def select(branch: Branch) -> str:
        seconds = _seconds_by_use(branch)
        shares = ", ".join(
            f"coalesce({seconds[use]}, 0) / nullif(sum(duration), 0) AS {use.word}"
            # All tiers in one order: a union goes by the place of a column, not by its name.
            for use in Use
        )
        rows = _told_with_use(branch, where)
        return f"SELECT {branch.time} AS time, {shares}, {_step(branch)} AS step\nFROM {rows} GROUP BY 1"

    return ended(by_tier(_TIERS, select), (), [use.word for use in Use])


def coverage(where: Where, gpus: str = "1") -> str:
    """Which share (0 to 1) of the time of `gpus` GPUs (SQL) is in samples; 0 where nothing was told.

    Not of intervals that agents, or the server's rollups, could not have told of yet.
    """

    def select(branch: Branch) -> str:
        rows = _told(branch, where, ())
        width = branch.width_us
        # A sample has the time at which it ended, a rollup that at which it begins.
        at = "(at - 1)" if branch.tier.step_ms is None else "at"
        shown = f"(least(begin + {width}, {END}) - greatest(begin, {BEGIN})) / 1000000.0::float8"
        late = _LATE_S if branch.tier.step_ms is None else branch.tier.step_ms // 1000
        told_until = f"{NOW_US} - {late * 1_000_000} - {width}"
        return f"""SELECT {as_time("begin")} AS time,
  CASE WHEN {gpus} > 0 THEN least(1, coalesce(seconds, 0) / ({shown} * {gpus})) END AS coverage
FROM generate_series({BEGIN} / {width} * {width}, least({END} - 1, {told_until}), {width}) AS begin
LEFT JOIN (SELECT {at} / {width} * {width} AS begin, sum(duration) AS seconds FROM {rows} GROUP BY 1) AS told
  USING (begin) WHERE {branch.asked}"""

    return f"{by_tier(_TIERS, select)}\nORDER BY 1"


def _told(branch: Branch, where: Where, names: Sequence[str]) -> str:
    """Rows of a tier with these columns, each value unpacked once however often it is used."""
    listed = ", ".join(branch[name] for name in dict.fromkeys(("at", "duration", *names)))
    return f"(SELECT {listed} FROM {branch} WHERE {branch.here} AND {where(branch)} OFFSET 0) AS told"


def _told_with_use(branch: Branch, where: Where) -> str:
    """Rows with `used` where they are samples, with the seconds of each use where they are rollups."""
    if branch.tier.step_ms is not None:
        return _told(branch, where, ("position", "gpu", "active", "held", "unknown"))
    rows = _told(branch, where, ("position", "gpu", *NEEDED))
    return f"(SELECT at, duration, position, gpu, {use_of_sample()} AS used FROM {rows} OFFSET 0) AS used"


def _seconds_by_use(branch: Branch) -> dict[Use, str]:
    if branch.tier.step_ms is None:
        return {use: f"sum(duration) FILTER (WHERE used = {use.value})" for use in Use}
    known = {use: f"sum({branch[use.word]})" for use in (Use.ACTIVE, Use.HELD, Use.UNKNOWN)}
    return {Use.FREE: f"(sum(duration) - {' - '.join(known.values())})"} | known


def _most(seconds: dict[Use, str]) -> str:
    """The Use with most time; of two with as much, the one that is more."""
    order = (Use.ACTIVE, Use.HELD, Use.FREE, Use.UNKNOWN)
    most = f"greatest({', '.join(seconds.values())})"
    cases = " ".join(f"WHEN {seconds[use]} >= {most} THEN {use.value}" for use in order)
    return f"CASE {cases} END"


def _step(branch: Branch) -> str:
    """After how many seconds the next row is due: samples may be further apart than the intervals.

    It is whole intervals, for a NULL at a time of its own would cut other GPUs' lines too. A sample takes a little
    longer than it is meant to.
    """
    if branch.tier.step_ms is not None:
        return branch.seconds
    return f"greatest(1, ceil(max(duration) / {branch.seconds} - 0.05)) * {branch.seconds}"
