"""What is chosen at the top of a board: a variable, whose options a query gives."""

from dataclasses import dataclass

from gpufleet_dashboards.query import Column, Query, text

# What Grafana takes of a variable's query: what is shown, and what is put into statements.
OPTIONS: dict[str, Column] = {"__text": text(nullable=False), "__value": text(nullable=False)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable whose options a query gives, in columns `__text` and `__value`.

    `several`: more than one can be chosen, or all; statements then have a list of it, `sql.chosen`. Else they have one
    value, `sql.is_one`.
    """

    name: str
    label: str
    description: str
    query: Query
    several: bool = False
