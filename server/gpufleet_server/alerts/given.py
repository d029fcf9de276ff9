"""Rows that are given, as a table to select from: with no table made, so that it works where nothing may be written."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, FromClause, column, func, literal, select, type_coerce
from sqlalchemy.types import TypeEngine

Given = Mapping[str, tuple[TypeEngine[Any], Sequence[Any]]]


def given(dialect: str, name: str, columns: Given) -> FromClause:
    """A table `name` of these columns: the type of each, and its values, as many as the others have."""
    return (_unnested if dialect == "postgresql" else _parsed)(name, columns)


def _unnested(name: str, columns: Given) -> FromClause:
    arrays = [literal(list(values), ARRAY(kind)) for kind, values in columns.values()]
    named = [column(each, kind) for each, (kind, _) in columns.items()]
    return func.unnest(*arrays).table_valued(*named, name=name).render_derived()


def _parsed(name: str, columns: Given) -> FromClause:
    text = json.dumps(list(zip(*(values for _, values in columns.values()), strict=True)))
    row = func.json_each(text).table_valued("value", name="row")
    parts = [
        type_coerce(func.json_extract(row.c.value, f"$[{number}]"), kind).label(each)
        for number, (each, (kind, _)) in enumerate(columns.items())
    ]
    return select(*parts).select_from(row).subquery(name)
