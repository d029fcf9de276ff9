"""Utilisation and waste: how much of what is owned works, and who holds what without running."""

from collections.abc import Callable

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Gauges, Lines, Table
from gpufleet_dashboards.links import to_place
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Query, metric, number, text
from gpufleet_dashboards.scale import BLUE, GREEN, RED, USE_COLOURS, YELLOW, steps
from gpufleet_dashboards.sql import PLACE_CHOSEN, Columns
from gpufleet_dashboards.statements import owned
from gpufleet_dashboards.statements.fleet import COVERAGE, OBSERVED, OWNED, Sum, in_all, in_use, over_time
from gpufleet_dashboards.statements.held import named
from gpufleet_dashboards.variables import MODEL, SITE

_HOURS = number(units.GPU_HOURS, "GPU time", decimals=1)
_GPUS = number(units.COUNT, decimals=1)
_PERCENT = number(units.PERCENT)
_SHARE = number(units.SHARE)
_COVERAGE_STEPS = steps(RED, (0.9, YELLOW), (0.99, GREEN))
# Of which share of their time these are, as sums of % × s.
_WORK = {"sm": "sm_active", "tensor": "tensor_active"}


_USED = {"taken": Sum("gpu_seconds", ("active", "held")), "active": Sum("gpu_seconds", ("active",))}
_STAGES = {
    **OBSERVED,
    **_USED,
    **{f"{short}_sum": Sum(f"{name}_sum", ("active",)) for short, name in _WORK.items()},
    **{f"{short}_active": Sum(f"{name}_seconds", ("active",)) for short, name in _WORK.items()},
}


def _stages(columns: str) -> str:
    """The stages as rows of stage, place, hours, and the share of the observed time that tells (NULL: all of it)."""
    values = {
        "owned": f"seconds * {OWNED}",
        "observed": "sum(gpu_seconds)",
        "taken": "sum(taken)",
        "active": "sum(active)",
        **{short: f"sum({short}_sum) / 100" for short in _WORK},
        **{f"{short}_told": f"sum({short}_active) / nullif(sum(active), 0)" for short in _WORK},
    }
    hours = (
        "(1, 'Owned', owned, NULL), (2, 'Observed', observed, NULL), (3, 'Active or held', taken, NULL),"
        " (4, 'Active', active, NULL), (5, 'Multiprocessors active', sm, sm_told),"
        " (6, 'Tensor pipes active', tensor, tensor_told)"
    )
    return f"""SELECT {columns} FROM ({in_all((), _STAGES, values)}) AS fleet
CROSS JOIN LATERAL (VALUES {hours}) AS stage (place, name, seconds, told)
ORDER BY stage.place"""


def _funnel() -> Query:
    hours = number(units.GPU_HOURS, decimals=1)
    return Query(_stages("stage.name, stage.seconds / 3600 AS hours"), {"name": text(), "hours": hours})


def _funnel_table() -> Query:
    columns = (
        "stage.name, stage.seconds / 3600 AS hours, stage.seconds / nullif(fleet.owned, 0) AS of_owned,"
        " stage.seconds / nullif(lag(stage.seconds) OVER (ORDER BY stage.place), 0) AS of_before, stage.told"
    )
    returns = {
        "name": text("Stage"),
        "hours": _HOURS,
        "of_owned": number(units.SHARE, "Of what is owned", decimals=1),
        "of_before": number(units.SHARE, "Of the stage before", decimals=1),
        "told": number(units.SHARE, "Active time that tells", decimals=1),
    }
    return Query(_stages(columns), returns)


def _whose() -> Query:
    fleet = in_all((), _USED, {"taken": "sum(taken)", "active": "sum(active)"})
    rows = ", ".join(
        f"({place}, '{title}', owners.{name}_active, owners.{name}_held)"
        for place, (name, title) in enumerate(
            {"workloads": "Workloads", "nobody": "(nobody)", "unknown": "(unknown)"}.items()
        )
    )
    told = {
        what: f"owners.workloads_{what} + owners.nobody_{what} + owners.unknown_{what}" for what in ("active", "held")
    }
    untold = f"(9, '(not told)', greatest(fleet.active - ({told['active']}), 0),"
    untold += f" greatest(fleet.taken - fleet.active - ({told['held']}), 0))"
    sql = f"""SELECT part.name, part.active / 3600 AS active, part.held / 3600 AS held,
  part.held / nullif(part.active + part.held, 0) AS share
FROM ({fleet}) AS fleet CROSS JOIN ({owned.totals()}) AS owners
CROSS JOIN LATERAL (VALUES {rows}, {untold}) AS part (place, name, active, held) ORDER BY part.place"""
    hours = {name: owned.HOURS[name] for name in ("active", "held", "share")}
    return Query(sql, {"name": text("Whose")} | hours)


def _coverage() -> Query:
    return Query(
        over_time(("site",), OBSERVED, {"coverage": COVERAGE}), {"time": TIME, "site": text(), "coverage": _SHARE}
    )


def _share(label: str, *uses: str) -> Query:
    """Which share of the observed time of a site, or model, its GPUs were in these uses."""
    sums = {**OBSERVED, "used": Sum("gpu_seconds", uses)}
    value = "coalesce(sum(used), 0) / nullif(sum(gpu_seconds), 0)"
    return Query(over_time((label,), sums, {"share": value}), {"time": TIME, label: text(), "share": _SHARE})


def _working(name: str) -> Query:
    """The mean of a metric over the active time of the GPUs of a model that tell it."""
    sums = {f"of_{what}": Sum(f"{name}_{what}", ("active",)) for what in ("sum", "seconds")}
    sql = over_time(("model",), sums, {name: "sum(of_sum) / nullif(sum(of_seconds), 0)"})
    return Query(sql, {"time": TIME, "model": text(), name: metric(name)})


def _places() -> Query:
    sums = {**OBSERVED, **{use: Sum("gpu_seconds", (use,)) for use in ("active", "held", "free", "unknown")}}
    hours = {use: f"coalesce(sum({use}), 0) / 3600" for use in ("active", "held", "free", "unknown")}
    values = {"owned": f"seconds * {OWNED} / 3600", "coverage": COVERAGE} | hours
    values |= {"share": "coalesce(sum(held), 0) / nullif(sum(gpu_seconds), 0)"} | PLACE_CHOSEN
    sql = f"{in_all(('site', 'model'), sums, values)}\nORDER BY held DESC, site, model LIMIT 300"
    columns = {
        "site": text("Site", link=_THIS_PLACE),
        "model": text("Model", link=_THIS_PLACE),
        "owned": number(units.GPU_HOURS, "Owned", decimals=1),
        "coverage": number(units.SHARE, "Coverage", decimals=1, steps=_COVERAGE_STEPS),
        **{use: number(units.GPU_HOURS, use.capitalize(), decimals=1) for use in hours},
        "share": number(units.SHARE, "Share held", decimals=1),
        **dict.fromkeys(PLACE_CHOSEN, text(hidden=True)),
    }
    return Query(sql, columns)


_THIS_PLACE = to_place("waste")


def _lines(title: str, description: str, query: Query, unit: str, w: int = 8) -> Panel:
    high = 1 if unit == units.SHARE else 100
    return Panel(
        kind=Lines(), title=title, description=description, unit=unit, query=query, w=w, h=8, low=0, high=high,
        points=150,
    )  # fmt: skip


def _owners(title: str, what: str, heading: str, name: Callable[[Columns], str]) -> Panel:
    return Panel(
        kind=Table(), title=title, unit=units.GPU_HOURS, query=owned.by(heading, name), w=8, h=10,
        description=f"{what} GPU time that several had at once is divided between them, a partition counts by its"
        f" share. Held: nothing ran, but a process or memory kept others away. (nobody): the driver listed no process."
        f" (unknown): whose it was could not be told. Hours, over wide ranges days (UTC), that the range cuts count in"
        f" proportion; one to some minutes behind. The hundred that held most.",
    )  # fmt: skip


_HOW_MUCH = Row(
    "How much of it works",
    (
        Panel(
            kind=Gauges(), title="From owned to working",
            description="GPU-hours of the range. Owned: as many GPUs as nodes had. Observed: of that, what is in"
            " samples. Active: something ran, however little. Multiprocessors active: active time by how much of the"
            " GPU worked, so many GPU-hours as if they had worked in full; tensor pipes likewise. The last two are of"
            " GPUs that tell alone (Hopper and newer): see the share in the table before you compare.",
            unit=units.GPU_HOURS, query=_funnel(), points=100, w=10, h=9, steps=steps(BLUE), low=0,
        ),
        Panel(
            kind=Table(), title="The same as shares",
            description="What of each stage there is, of what is owned and of the stage before. Active time that tells"
            " is the share of the active time whose GPUs tell that figure: where it is below 100 % the stage is too"
            " short by what the others did.",
            unit=units.GPU_HOURS, query=_funnel_table(), points=100, w=14, h=9,
        ),
        Panel(
            kind=Lines(stacked=True), title="GPUs by what they did",
            description="GPU-time observed in an interval through its length: so many GPUs were active, held (nothing"
            " ran, but others were kept away), free, or of unknown use. The height is what was observed, not what is"
            " owned.",
            unit=units.COUNT, query=Query(in_use(), {"time": TIME, "use": text(), "gpus": _GPUS}), w=16, h=8,
            colours=USE_COLOURS, low=0,
        ),
        _lines(
            "Coverage by site",
            "Share of the time of all GPUs that nodes have which is in samples. All else on this board is of that"
            " share: silent nodes, lost GPUs and failed drivers are missing from it, and are not idle.",
            _coverage(), units.SHARE,
        ),
    ),
)  # fmt: skip

_BY_PLACE = Row(
    "By site and model",
    (
        _lines(
            "Active, by site", "Share of the observed time in which something ran, 1 % of a sample or more.",
            _share("site", "active"), units.SHARE, 6,
        ),
        _lines(
            "Active, by model", "Share of the observed time in which something ran, 1 % of a sample or more.",
            _share("model", "active"), units.SHARE, 6,
        ),
        _lines(
            "Held, by site", "Share of the observed time in which nothing ran and others were kept away.",
            _share("site", "held"), units.SHARE, 6,
        ),
        _lines(
            "Held, by model", "Share of the observed time in which nothing ran and others were kept away.",
            _share("model", "held"), units.SHARE, 6,
        ),
        *(
            _lines(
                title,
                "Mean over the active time of the GPUs that tell it (Hopper and newer). Low with much active time:"
                " programs wait for data, for others, or are too small for the GPU.",
                _working(name), units.PERCENT, 8,
            )
            for name, title in (
                ("sm_active", "Multiprocessors active, while active"),
                ("tensor_active", "Tensor pipes active, while active"),
                ("dram_active", "Memory bandwidth used, while active"),
            )
        ),
        Panel(
            kind=Table(), title="Sites and models",
            description="GPU-hours of the range by site and model, those with most held first. Free and held are of"
            " observed time; owned less the four is what nobody observed. Unknown: the driver does not tell, as under"
            " MIG before Hopper.",
            unit=units.GPU_HOURS, query=_places(), points=100, w=24, h=9,
        ),
    ),
)  # fmt: skip

_WASTE = Row(
    "Held without running",
    (
        Panel(
            kind=Table(), title="Whose it was",
            description="GPU-hours by whether somebody is known to have had them. (nobody): memory was held and no"
            " process was listed, such as memory that was not freed. (unknown): the agent could not tell whose process"
            " it was. (not told): active or held on nodes whose agents do not tell who (usage = off), or have not yet;"
            " a difference of two figures, and rough over ranges of a few hours.",
            unit=units.GPU_HOURS, query=_whose(), points=100, w=10, h=8,
        ),
        Panel(
            kind=Lines(stacked=True, bars=True), title="Held GPU-hours over time",
            description="GPU-hours in which nothing ran and others were kept away, by kind of holder: each bar is an"
            " hour, a day (UTC), or longer with a wide range. What is not told of is not in it. The newest bar is not"
            " over yet.",
            unit=units.GPU_HOURS, query=owned.over_time(), w=14, h=8, low=0,
            points=100,
        ),
        Panel(
            kind=Table(), title="Workloads that held most",
            description="Of each hour, or day, the workloads that held most are kept (a thousand of the fleet, a"
            " hundred of each site): small ones are not in it, nor the hours in which one held nothing, and it adds up"
            " to less than all. A few minutes between two steps of a job are no waste; hours are. GPUs and nodes are"
            " the most at once, of one site and model.",
            unit=units.GPU_HOURS, query=owned.worst(), w=24, h=11,
        ),
        _owners("By user", "Users by name, or by number where no name is known.", "User",
                lambda branch: named(branch, branch["user_name"])),
        _owners("By account", "Slurm accounts; (none): work without one.", "Account",
                lambda branch: named(branch, branch["account"])),
        _owners("By namespace", "Namespaces of Kubernetes; (none): work outside of it.", "Namespace",
                lambda branch: named(branch, branch["namespace"])),
    ),
)  # fmt: skip

BOARD = Board(
    name="waste",
    title="gpufleet: Utilisation and waste",
    description="How much of what is owned works, and who holds what without running.",
    rows=(_HOW_MUCH, _WASTE, _BY_PLACE),
    variables=(SITE, MODEL),
    range="now-7d",
    refresh="5m",
)
