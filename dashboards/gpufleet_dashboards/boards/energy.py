"""Energy: what the boards draw, where, for what, and how much of it for nothing."""

from gpufleet_agent.catalogue import Use
from gpufleet_server.store.grafana.views.gpu_counts import VIEW as GPU_COUNTS

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Lines, Stat, Table
from gpufleet_dashboards.links import to_place
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Query, metric, number, text
from gpufleet_dashboards.scale import GREEN, RED, USE_COLOURS, YELLOW, steps
from gpufleet_dashboards.sql import PLACE_CHOSEN, chosen
from gpufleet_dashboards.statements.fleet import OBSERVED, OWNED, Sum, in_all, over_time
from gpufleet_dashboards.statements.standing import MINUTE_SECONDS, USED
from gpufleet_dashboards.variables import MODEL, SITE

_KWH = number(units.KILOWATT_HOURS, decimals=1)
_SHARE = number(units.SHARE)
_COVERAGE_STEPS = steps(RED, (0.9, YELLOW), (0.99, GREEN))
_USES = tuple(use.word for use in (Use.ACTIVE, Use.HELD, Use.FREE, Use.UNKNOWN))
# W·s in a kWh.
_A_KWH = 3_600_000
_OBSERVED = (
    "Power is the energy counter's mean where there is one, else the driver's own reading, which on some boards looks a"
    " quarter of the time only. It is the boards' alone: no CPUs, fans or power supplies. What is not observed is not"
    " in it."
)


# W·s, the seconds that they are known of, and those that a counter tells of.
_POWER = {
    "energy_ws": Sum("power_sum"),
    "known": Sum("power_seconds"),
    "counted_seconds": Sum("energy_seconds"),
}
# W·s of each use, the seconds that they are known of, and all seconds.
_OF_A_USE = {"ws": "power_sum", "known": "power_seconds", "seconds": "gpu_seconds"}
_BY_USE = {f"{use}_{name}": Sum(column, (use,)) for use in _USES for name, column in _OF_A_USE.items()}


def _ws(use: str = "") -> str:
    """W·s of all, or of GPUs in a use: NULL where none told its power, 0 where others did and none was in that use."""
    if not use:
        return "CASE WHEN sum(known) > 0 THEN sum(energy_ws) END"
    told = f"CASE WHEN sum({use}_known) > 0 THEN sum({use}_ws) END"
    return f"CASE WHEN sum({use}_seconds) > 0 THEN {told} WHEN sum(known) > 0 THEN 0 END"


def _now() -> Query:
    columns = (f"CASE WHEN use = '{each.uses[0]}' THEN {each.column} END AS {name}" for name, each in _BY_USE.items())
    rows = f"SELECT power_sum AS energy_ws, power_seconds AS known, {', '.join(columns)} FROM used"
    watts = ", ".join(f"({_ws(use)}) / {MINUTE_SECONDS} AS {use}" for use in _USES)
    sql = f"""WITH used AS ({USED}), told AS ({rows})
SELECT ({_ws()}) / {MINUTE_SECONDS} AS power, {watts} FROM told HAVING count(*) > 0"""
    names = {"active": "Active GPUs", "held": "Held, nothing runs", "free": "Free GPUs", "unknown": "Use unknown"}
    return Query(sql, {"power": metric("power", "All")} | {use: metric("power", names[use]) for use in _USES})


def _in_range() -> Query:
    values = {
        "total": f"({_ws()}) / {_A_KWH}",
        "held": f"({_ws('held')}) / {_A_KWH}",
        "free": f"({_ws('free')}) / {_A_KWH}",
    }
    sql = in_all((), _POWER | _BY_USE, values)
    titles = {"total": "Energy", "held": "Of it while held, nothing ran", "free": "Of it while free"}
    return Query(sql, {name: number(units.KILOWATT_HOURS, title, decimals=1) for name, title in titles.items()})


def _watts(label: str) -> Query:
    """Watts of all GPUs of a site, model or use; of a use that no GPU was in 0, where others told their power."""
    value = _ws()
    if label == "use":
        others = "sum(sum(known)) OVER (PARTITION BY shown.begin) > 0"
        value = f"CASE WHEN sum(gpu_seconds) > 0 THEN {value} WHEN {others} THEN 0 END"
    sql = over_time((label,), {**OBSERVED, **_POWER}, {"power": f"({value}) / seconds"})
    return Query(sql, {"time": TIME, label: text(), "power": metric("power")})


def _watts_a_gpu(label: str) -> Query:
    sql = over_time((label,), _POWER, {"power": "sum(energy_ws) / nullif(sum(known), 0)"})
    return Query(sql, {"time": TIME, label: text(), "power": metric("power")})


def _kwh(label: str) -> Query:
    sql = over_time((label,), _POWER, {"energy": f"({_ws()}) / {_A_KWH}"})
    return Query(sql, {"time": TIME, label: text(), "energy": _KWH})


def _coverage() -> Query:
    values = {
        "known": f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(known), 0) / (seconds * {OWNED})) END",
        "counted": f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(counted_seconds), 0) / (seconds * {OWNED}))"
        f" END",
    }
    sql = over_time((), _POWER, values)
    returns = {"known": number(units.SHARE, "power known"), "counted": number(units.SHARE, "by an energy counter")}
    return Query(sql, {"time": TIME} | returns)


def _held_by_power() -> Query:
    name = "clocks_held_by_power"
    sums = {"a": Sum(f"{name}_sum", ("active",)), "b": Sum(f"{name}_seconds", ("active",))}
    sql = over_time(("model",), sums, {"share": "sum(a) / nullif(sum(b), 0)"})
    return Query(sql, {"time": TIME, "model": text(), "share": metric("clocks_held_by_power")})


def _places() -> Query:
    values = {
        "kwh": f"({_ws()}) / {_A_KWH}",
        "held": f"({_ws('held')}) / {_A_KWH}",
        "free": f"({_ws('free')}) / {_A_KWH}",
        **{f"{use}_w": f"sum({use}_ws) / nullif(sum({use}_known), 0)" for use in ("active", "held", "free")},
        "hours": "sum(gpu_seconds) / 3600",
        "coverage": f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(known), 0) / (seconds * {OWNED})) END",
        "counted": "coalesce(sum(counted_seconds), 0) / nullif(sum(known), 0)",
        **PLACE_CHOSEN,
    }
    sums = {**OBSERVED, **_POWER, **_BY_USE}
    sql = f"{in_all(('site', 'model'), sums, values)}\nORDER BY kwh DESC NULLS LAST, site, model LIMIT 300"
    columns = {
        "site": text("Site", link=_THIS_PLACE),
        "model": text("Model", link=_THIS_PLACE),
        "kwh": number(units.KILOWATT_HOURS, "Energy", decimals=1),
        "held": number(units.KILOWATT_HOURS, "While held", decimals=1),
        "free": number(units.KILOWATT_HOURS, "While free", decimals=1),
        "active_w": metric("power", "An active GPU", decimals=0),
        "held_w": metric("power", "A held one", decimals=0),
        "free_w": metric("power", "A free one", decimals=0),
        "hours": number(units.GPU_HOURS, "Observed", decimals=1),
        "coverage": number(units.SHARE, "Coverage", decimals=1, steps=_COVERAGE_STEPS),
        "counted": number(units.SHARE, "By a counter", decimals=1),
        **dict.fromkeys(PLACE_CHOSEN, text(hidden=True)),
    }
    return Query(sql, columns)


def _limits() -> Query:
    view = GPU_COUNTS
    sql = f"""SELECT {view["model"]} AS model, {view["power_limit"]} AS power_limit, sum({view["gpus"]}) AS gpus,
  sum({view["gpus"]}) * {view["power_limit"]} AS together
FROM {view} WHERE {view["what"]} = 'power_limit' AND {chosen(view, "site", "model")}
GROUP BY 1, 2 ORDER BY 1, gpus DESC LIMIT 200"""
    columns = {
        "model": text("Model"),
        "power_limit": metric("power_limit", "Limit of each"),
        "gpus": number(units.COUNT, "GPUs", width=90),
        "together": metric("power_limit", "Together"),
    }
    return Query(sql, columns)


_THIS_PLACE = to_place("energy")


def _stacked(label: str, title: str, w: int = 8) -> Panel:
    return Panel(
        kind=Lines(stacked=True), title=title, unit=units.WATT, query=_watts(label), w=w, h=8, low=0, points=150,
        colours=USE_COLOURS if label == "use" else {},
        description="Watts of all GPUs together, the mean of an interval. A line ends where none told its power: that"
        f" is not 0. {_OBSERVED}",
    )  # fmt: skip


def _each(label: str, title: str) -> Panel:
    return Panel(
        kind=Lines(), title=title, unit=units.WATT, query=_watts_a_gpu(label), w=12, h=8, low=0, points=150,
        colours=USE_COLOURS if label == "use" else {},
        description="Mean watts of one GPU, over the time that its power is known. Free GPUs draw a good part of what"
        f" they can, held ones more. {_OBSERVED}",
    )  # fmt: skip


_NOW = Row(
    "Now, and in the range",
    (
        Panel(
            kind=Stat(coloured=False), title="Power now",
            description=f"Watts in the last whole minute of the range, by what the GPUs did. {_OBSERVED}",
            unit=units.WATT, query=_now(), w=14, h=4, nothing="not observed",
        ),
        Panel(
            kind=Stat(coloured=False), title="Energy in the range",
            description=f"Power through time: of the boards, over the time that is observed. {_OBSERVED}",
            unit=units.KILOWATT_HOURS, query=_in_range(), points=100, w=10, h=4, nothing="not observed",
        ),
    ),
)  # fmt: skip

_OVER_TIME = Row(
    "Over time",
    (
        _stacked("site", "Power by site"),
        _stacked("model", "Power by model"),
        _stacked("use", "Power by use"),
        Panel(
            kind=Lines(stacked=True, bars=True), title="Energy by use",
            description=f"kWh of each interval, by what the GPUs did: what is held (nothing ran, but others were kept"
            f" away) is for nothing. A bar that the range cuts is smaller. {_OBSERVED}",
            unit=units.KILOWATT_HOURS, query=_kwh("use"), w=12, h=8, colours=USE_COLOURS, low=0, points=60,
        ),
        Panel(
            kind=Lines(), title="Coverage",
            description="Share of the time of all GPUs that nodes have of which the power is known, and of which a"
            " counter of energy told it. Sums here are of the first share; the difference of the two is told by the"
            " driver's own readings, which are less sure.",
            unit=units.SHARE, query=_coverage(), w=12, h=8, points=120, low=0, high=1,
        ),
    ),
)  # fmt: skip

_A_GPU = Row(
    "Of one GPU",
    (
        _each("use", "Watts of a GPU, by use"),
        _each("model", "Watts of a GPU, by model"),
        Panel(
            kind=Lines(), title="Held down by a power limit, while active",
            description="Share of the active time in which a power limit held the clocks down, the mean of all GPUs of"
            " a model that tell. At the limit a GPU gives less than it could; a lower limit can still give more for a"
            " kWh.",
            unit=units.PERCENT, query=_held_by_power(), w=12, h=8, low=0, high=100, points=150,
        ),
        Panel(
            kind=Table(), title="Power limits in force",
            description="Limits that the drivers enforce, as of at most a minute ago, whatever range is shown, and what"
            " all GPUs of a limit may draw together: what power and cooling must bear. An empty limit: the driver does"
            " not tell. A few GPUs of a model with a limit of their own were set so, or forgotten.",
            unit=units.WATT, query=_limits(), w=12, h=8,
        ),
    ),
)  # fmt: skip

_PLACES = Row(
    "By site and model",
    (
        Panel(
            kind=Table(), title="Sites and models",
            description="Energy of the range, of it while held and while free, and the mean watts of a GPU in each"
            " use, those with most first. Coverage: share of the time of all GPUs of which power is known; by a"
            f" counter: share of that which an energy counter told. {_OBSERVED}",
            unit=units.WATT, query=_places(), points=100, w=24, h=10,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    name="energy",
    title="gpufleet: Energy",
    description="What the boards draw, where, for what, and how much of it for nothing.",
    rows=(_NOW, _OVER_TIME, _PLACES, _A_GPU),
    variables=(SITE, MODEL),
)
