"""Energy: what the boards draw, where, for what, and how much of it for nothing."""

from gpufleet_agent.catalogue import Use
from gpufleet_server.store.grafana.views.states_now import VIEW as STATES_NOW

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Lines, Stat, Table
from gpufleet_dashboards.links import to_place
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Query, metric, number, text
from gpufleet_dashboards.scale import GREEN, RED, USE_COLOURS, YELLOW, steps
from gpufleet_dashboards.sql import PLACE_CHOSEN, Branch, chosen, likely
from gpufleet_dashboards.statements.fleet import OWNED, in_all, observed, of_use, over_time
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


def _power(branch: Branch) -> dict[str, str]:
    """W·s, the seconds that they are known of, and those that a counter tells of."""
    return {
        "energy_ws": f"sum({branch['power_sum']})",
        "known": f"sum({branch['power_seconds']})",
        "counted_seconds": f"sum({branch['energy_seconds']})",
    }


def _by_use(branch: Branch) -> dict[str, str]:
    """W·s and seconds of each use."""
    ws = {f"{use}_ws": of_use(branch, use, column="power_sum") for use in _USES}
    return ws | {f"{use}_known": of_use(branch, use, column="power_seconds") for use in _USES}


def _now() -> Query:
    watts = {use: f"sum(power_sum) FILTER (WHERE use = '{use}') / {MINUTE_SECONDS}" for use in _USES}
    listed = ", ".join(f"coalesce({value}, 0) AS {use}" for use, value in watts.items())
    sql = f"""WITH used AS ({USED}) SELECT sum(power_sum) / {MINUTE_SECONDS} AS power, {listed}
FROM used HAVING count(*) > 0"""
    names = {"active": "Active GPUs", "held": "Held, nothing runs", "free": "Free GPUs", "unknown": "Use unknown"}
    return Query(sql, {"power": metric("power", "All")} | {use: metric("power", names[use]) for use in _USES})


def _in_range() -> Query:
    values = {
        "total": f"sum(energy_ws) / {_A_KWH}",
        "held": f"coalesce(sum(held_ws), 0) / {_A_KWH}",
        "free": f"coalesce(sum(free_ws), 0) / {_A_KWH}",
    }
    sql = in_all((), lambda branch: _power(branch) | _by_use(branch), values)
    titles = {"total": "Energy", "held": "Of it while held, nothing ran", "free": "Of it while free"}
    return Query(sql, {name: number(units.KILOWATT_HOURS, title, decimals=1) for name, title in titles.items()})


def _watts(label: str) -> Query:
    """Watts of all GPUs of a site, model or use."""
    sql = over_time((label,), _power, {"power": "coalesce(sum(energy_ws), 0) / seconds"})
    return Query(sql, {"time": TIME, label: text(), "power": metric("power")})


def _watts_a_gpu(label: str) -> Query:
    sql = over_time((label,), _power, {"power": "sum(energy_ws) / nullif(sum(known), 0)"})
    return Query(sql, {"time": TIME, label: text(), "power": metric("power")})


def _kwh(label: str) -> Query:
    sql = over_time((label,), _power, {"energy": f"sum(energy_ws) / {_A_KWH}"})
    return Query(sql, {"time": TIME, label: text(), "energy": _KWH})


def _coverage() -> Query:
    values = {
        "known": f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(known), 0) / (seconds * {OWNED})) END",
        "counted": f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(counted_seconds), 0) / (seconds * {OWNED}))"
        f" END",
    }
    sql = over_time((), _power, values)
    returns = {"known": number(units.SHARE, "power known"), "counted": number(units.SHARE, "by an energy counter")}
    return Query(sql, {"time": TIME} | returns)


def _held_by_power() -> Query:
    def sums(branch: Branch) -> dict[str, str]:
        name = "clocks_held_by_power"
        return {
            what: of_use(branch, "active", column=f"{name}_{end}") for what, end in (("a", "sum"), ("b", "seconds"))
        }

    sql = over_time(("model",), sums, {"share": "sum(a) / nullif(sum(b), 0)"})
    return Query(sql, {"time": TIME, "model": text(), "share": metric("clocks_held_by_power")})


def _places() -> Query:
    def sums(branch: Branch) -> dict[str, str]:
        return observed(branch) | _power(branch) | _by_use(branch)

    values = {
        "kwh": f"sum(energy_ws) / {_A_KWH}",
        "held": f"coalesce(sum(held_ws), 0) / {_A_KWH}",
        "free": f"coalesce(sum(free_ws), 0) / {_A_KWH}",
        **{f"{use}_w": f"sum({use}_ws) / nullif(sum({use}_known), 0)" for use in ("active", "held", "free")},
        "hours": "sum(gpu_seconds) / 3600",
        "coverage": f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(known), 0) / (seconds * {OWNED})) END",
        "counted": "coalesce(sum(counted_seconds), 0) / nullif(sum(known), 0)",
        **PLACE_CHOSEN,
    }
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
        "hours": number(units.GPU_HOURS, "Observed", decimals=0),
        "coverage": number(units.SHARE, "Coverage", decimals=1, steps=_COVERAGE_STEPS),
        "counted": number(units.SHARE, "By a counter", decimals=1),
        **dict.fromkeys(PLACE_CHOSEN, text(hidden=True)),
    }
    return Query(sql, columns)


def _limits() -> Query:
    sql = f"""SELECT {STATES_NOW["model"]} AS model, {STATES_NOW["power_limit"]} AS power_limit, count(*) AS gpus,
  count(*) * {STATES_NOW["power_limit"]} AS together
FROM {STATES_NOW} WHERE {likely(chosen(STATES_NOW, "site", "model"))} GROUP BY 1, 2 ORDER BY 1, gpus DESC LIMIT 200"""
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
        kind=Lines(stacked=True), title=title, unit=units.WATT, query=_watts(label), w=w, h=8, low=0,
        colours=USE_COLOURS if label == "use" else {},
        description=f"Watts of all GPUs together, the mean of an interval. {_OBSERVED}",
    )  # fmt: skip


def _each(label: str, title: str) -> Panel:
    return Panel(
        kind=Lines(), title=title, unit=units.WATT, query=_watts_a_gpu(label), w=12, h=8, low=0,
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
            unit=units.PERCENT, query=_held_by_power(), w=12, h=8, low=0, high=100,
        ),
        Panel(
            kind=Table(), title="Power limits in force",
            description="Limits that the drivers enforce now, whatever range is shown, and what all GPUs of a limit"
            " may draw together: what power and cooling must bear. An empty limit: the driver does not tell. A few"
            " GPUs of a model with a limit of their own were set so, or forgotten.",
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
