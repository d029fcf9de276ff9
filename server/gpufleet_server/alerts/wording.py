"""Words for what metrics give as numbers, in SQL."""

from collections.abc import Mapping
from typing import Any

from gpufleet_agent.catalogue import BY_NAME
from sqlalchemy import ColumnElement, String, case, cast, func, literal


def flags(metric: str, column: ColumnElement[Any]) -> ColumnElement[str]:
    """The names of the bits of a metric of flags that are set, with commas between them."""
    parts: ColumnElement[str] = literal("")
    for bit, name in BY_NAME[metric].flags:
        parts = parts.op("||", return_type=String())(case((column.bitwise_and(bit) != 0, f", {name}"), else_=""))
    return func.substr(parts, 3, type_=String())


def level(column: ColumnElement[Any], words: Mapping[int, str]) -> ColumnElement[str]:
    """The word of a number, or the number."""
    return case(*((column == number, word) for number, word in words.items()), else_=cast(column, String))
