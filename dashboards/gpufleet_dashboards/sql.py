"""SQL for panels: conditions of time and variables, and statements over the tier of views that the range asks for.

A view names itself in a statement (`f"FROM {view}"`) and its columns are asked for by name (`view["power"]`): what was
renamed fails when the board is built. What is written here keeps to Grafana's rules for its macros (no parenthesis
within one, none that it does not know) and to what PostgreSQL can prune before it runs a statement.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gpufleet_server.store.grafana.view import View

# What the range shows, in µs; bigint, for an int4 holds no µs.
BEGIN = "$__unixEpochFrom() * 1000000::bigint"
END = "$__unixEpochTo() * 1000000::bigint"
# The time at which the statement runs, µs.
NOW_US = "(extract(epoch FROM now()) * 1000000)::bigint"
# How far a panel's points are from each other.
INTERVAL_MS = "$__interval_ms"
# The same in µs, for what is in no tiers.
INTERVAL_US = f"({INTERVAL_MS} * 1000::bigint)"
# What menus offer for names with a dollar sign, all of them together: Grafana looks for its macros in what is chosen,
# too, and a name that looks like one would change every query that has it, or break it.
WITH_DOLLAR = "(with a dollar sign)"

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Columns(Protocol):
    """What columns are asked of by name: a view, or a branch of a statement. KeyError: there is no such column."""

    def __getitem__(self, column: str, /) -> str:
        """The column as it is written in SQL."""
        ...


def within(view: Columns, at: str = "at") -> str:
    """That a row's time lies in the shown range; `at` is a column of µs."""
    return f"{view[at]} >= {BEGIN} AND {view[at]} < {END}"


def as_time(at: str) -> str:
    """A time (SQL, µs; a sum of times in parentheses) as timestamptz, which Grafana draws."""
    return f"to_timestamp({at} / 1000000.0::float8)"


def begun(at: str, width: str = INTERVAL_US) -> str:
    """When the interval of a time (SQL, µs) begins, timestamptz; intervals are `width` (SQL) µs long."""
    return as_time(f"{at} / {width} * {width}")


def chosen(view: Columns, *columns: str, **named: str) -> str:
    """That columns have one of the values chosen in the variables of their names (`column="variable"`: of another).

    For variables of several values. Nothing to choose from is no row, and no error as `IN ()` would be.
    """
    wanted = {name: name for name in columns} | named
    return " AND ".join(_among(view[name], f"ANY (ARRAY[${variable}]::text[])") for name, variable in wanted.items())


def likely(*conditions: str) -> str:
    """That all of these hold, of which PostgreSQL is to expect that half of the rows do.

    Of a text that it knows nothing of it expects next to none, and then reads a whole fleet node by node.
    """
    return f"CASE WHEN {' AND '.join(conditions)} THEN true ELSE false END"


def is_one(view: Columns, column: str, variable: str) -> str:
    """That a column has the value of a variable of a single value."""
    return _among(view[column], f"'${variable}'")


def offered(name: str) -> str:
    """What a menu offers for a name (SQL), and what a link is to say of it: itself, or what stands for such names."""
    return f"CASE WHEN {_has_dollar(name)} THEN '{WITH_DOLLAR}' ELSE {name} END"


def _among(column: str, wanted: str) -> str:
    """PostgreSQL knows the second half before it runs the statement, and leaves it out where it is not chosen."""
    return f"({column} = {wanted} OR '{WITH_DOLLAR}' = {wanted} AND {_has_dollar(column)})"


def _has_dollar(name: str) -> str:
    return f"strpos({name}, chr(36)) > 0"


# What a link to the row's site and model alone says of them, for statements whose rows have both.
PLACE_CHOSEN = {"site_chosen": offered("site"), "model_chosen": offered("model")}


@dataclass(frozen=True, slots=True)
class Tier:
    """A view to read while a panel's interval is below `below_ms` (None: however long it is).

    `step_ms`: how far its rows of one subject are from each other; None where that is each agent's own.
    """

    view: View
    step_ms: int | None
    below_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Branch:
    """A tier within a statement: its view, and what depends on the tier."""

    tier: Tier
    from_ms: int

    def __str__(self) -> str:
        return str(self.tier.view)

    def __getitem__(self, column: str) -> str:
        return self.tier.view[column]

    @property
    def asked(self) -> str:
        """That this is the tier to read; of the coarsest and only one, true."""
        low = [f"{INTERVAL_MS} >= {self.from_ms}"] if self.from_ms else []
        high = [f"{INTERVAL_MS} < {self.tier.below_ms}"] if self.tier.below_ms is not None else []
        return " AND ".join((*low, *high)) or f"{INTERVAL_MS} > 0"

    @property
    def here(self) -> str:
        """That this is the tier to read, and that a row lies in the shown range. PostgreSQL skips the others unread."""
        return " AND ".join((self.asked, within(self), *self._span()))

    @property
    def width_us(self) -> str:
        """How long an interval of the panel is here, µs: a whole number of rows, for sums would go up and down else."""
        step = self.tier.step_ms
        shown = INTERVAL_MS if step is None else f"({INTERVAL_MS} + {step - 1}) / {step} * {step}"
        return f"({shown} * 1000::bigint)"

    @property
    def begin_us(self) -> str:
        """When a row's interval of the panel begins, µs."""
        return f"{self['at']} / {self.width_us} * {self.width_us}"

    @property
    def seconds(self) -> str:
        """How long an interval of the panel is here, s."""
        return f"({self.width_us} / 1000000.0::float8)"

    @property
    def time(self) -> str:
        """When a row's interval of the panel begins, timestamptz: what to group by, and to name `time`."""
        return begun(self["at"], self.width_us)

    def mean(self, metric: str) -> str:
        """The mean of a metric over any group of rows that have it as a sum and the seconds that it is over."""
        return self.tier.view.mean(metric)

    def _span(self) -> list[str]:
        length = self.tier.view.span
        if length is None:
            return []
        return [f"{self['span']} >= {BEGIN} - {length}::bigint", f"{self['span']} < {END}"]


def by_tier(tiers: tuple[Tier, ...], select: Callable[[Branch], str]) -> str:
    """One statement that reads the tier which the panel's interval asks for.

    `select` writes the statement for a branch; its WHERE must have `branch.here`, and where it has aggregates it must
    have a GROUP BY: without, a tier that is not read would still give a row.
    """
    starts = [0, *(tier.below_ms for tier in tiers if tier.below_ms is not None)]
    if len(starts) != len(tiers) or tiers[-1].below_ms is not None or starts != sorted(set(starts)):
        raise ValueError("tiers go from the finest to the coarsest, each but the last with an end")
    parts = [select(Branch(tier, start)) for tier, start in zip(tiers, starts, strict=True)]
    for part, tier in zip(parts, tiers, strict=True):
        if INTERVAL_MS not in part:
            raise ValueError(f"the statement over {tier.view} does not say when it is to be read: `branch.here`")
    return "\nUNION ALL\n".join(f"({part.strip()})" for part in parts)
