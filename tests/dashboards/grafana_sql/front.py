"""What Grafana's front end does to a query: the variables of the board, and its own, become text."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.dashboards.grafana_sql.formats import Value, formatted, in_sql
from tests.dashboards.grafana_sql.intervals import Interval

ALL, ALL_TEXT = "$__all", "All"
# $v, [[v]], [[v:format]], ${v}, ${v.field}, ${v:format}: in the ASCII letters of JavaScript's \w.
_REFERENCE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a board and what is chosen of it: a text, or several where `multi`.

    `options` are the values that its menu offers; `all_value` is what stands for all of them where that is given.
    """

    name: str
    value: str | tuple[str, ...]
    multi: bool = False
    include_all: bool = False
    options: tuple[str, ...] = ()
    all_value: str | None = None

    @property
    def is_all(self) -> bool:
        """Whether All is chosen, or a value that looks like it."""
        return self.value == ALL or (isinstance(self.value, tuple) and self.value[:1] == (ALL,))

    @property
    def chosen(self) -> str | tuple[str, ...]:
        """The values: every option where it is All."""
        return self.options if self.is_all else self.value

    @property
    def text(self) -> str:
        """What its menu shows."""
        if self.is_all:
            return ALL_TEXT
        return " + ".join(self.value) if isinstance(self.value, tuple) else self.value


@dataclass(frozen=True, slots=True)
class Range:
    """The time of a board, ms since the epoch."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What goes with a query: the board's time and variables, the zone, and the panel's interval where it has one."""

    range: Range
    variables: Sequence[Variable] = ()
    interval: Interval | None = None
    zone: str = "utc"


def replaced(text: str, asked: Asked) -> str:
    """A query after the front end. FormatError where a format is not understood."""
    variables = {variable.name: variable for variable in asked.variables}
    return _REFERENCE.sub(_replace(variables, _own(asked), ""), text)


def _own(asked: Asked) -> dict[str, Value]:
    """Grafana's own variables, those of the panel before those of the board."""
    own: dict[str, Value] = {"__from": asked.range.begin, "__to": asked.range.end, "__timezone": asked.zone}
    if asked.interval is not None:
        own |= {"__interval": asked.interval.text, "__interval_ms": asked.interval.ms}
    return own


def _replace(variables: Mapping[str, Variable], own: Mapping[str, Value], usual: str) -> Callable[[re.Match[str]], str]:
    """What stands for a reference; `usual` is the format where none is named, '' for the data source's own."""

    def replace(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[4]
        form = found[3] or found[6] or usual
        if name in own:
            return _written(own[name], form, name, "", quoted=False)
        if name not in variables:
            return found[0]
        variable = variables[name]
        if variable.is_all and variable.all_value:
            return _custom_all(variable, form, _replace(variables, own, "glob"))
        quoted = variable.multi or variable.include_all
        return _written(variable.chosen, form, name, variable.text, quoted=quoted)

    return replace


def _written(value: Value, form: str, name: str, text: str, *, quoted: bool) -> str:
    return formatted(value, form, name, text) if form else in_sql(value, quoted=quoted)


def _custom_all(variable: Variable, form: str, replace: Callable[[re.Match[str]], str]) -> str:
    """A value of All's own is taken as it is; references in it are replaced in their turn."""
    assert variable.all_value is not None
    if form in ("text", "queryparam"):
        return ALL_TEXT if form == "text" else f"var-{variable.name}={ALL_TEXT}"
    if form == "percentencode":
        return formatted(variable.all_value, form, variable.name, ALL_TEXT)
    return _REFERENCE.sub(replace, variable.all_value)
