"""The parameters of queries: bounded, and an unknown one is an error, for operators mistype."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path
from gpufleet_agent.catalogue import BY_NAME
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gpufleet_server.domain import times
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries.paging import MAX_CURSOR
from gpufleet_server.queries.selection import SORTS

_SECONDS = {"type": "number", "minimum": times.EARLIEST // 10**6, "maximum": times.LATEST // 10**6}
_FLAGS = {"true": True, "false": False}
_CLEAN = r"^[^\x00]*$"


def _time(value: Any) -> Any:
    return times.parse(value) if isinstance(value, str) else value


def known(kind: str, names: Sequence[str], name: str) -> str:
    """The name, if it is one of these. ValueError lists them, those like it first."""
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise ValueError(f"{name[:80]!r} is no {kind}{hint}; there are {', '.join(names)}")


def _flag(value: Any) -> Any:
    # Else `1`, `yes` and the like were taken too, which the document does not tell of.
    if isinstance(value, str) and value not in _FLAGS:
        raise ValueError(f"{value[:80]!r} is neither true nor false")
    return _FLAGS[value] if isinstance(value, str) else value


def _length(value: Any) -> Any:
    return times.length(value) if isinstance(value, str) else value


def whole_range(
    start: int | None, end: int | None, now: int, usual: int, first: str = "start", last: str = "end"
) -> tuple[int, int]:
    """The range of two times (µs) of which either may be missing. Problem 422 where it ends before it begins.

    `first` and `last` are what the parameters are called.
    """
    end = now if end is None else end
    start = end - usual if start is None else start
    if start >= end:
        raise Problem(422, f"{first} {times.iso(start)} is not before {last} {times.iso(end)}", first)
    return start, end


def _sort(value: str) -> str:
    name = known("order", SORTS, value.removeprefix("-"))
    return f"-{name}" if value.startswith("-") else name


def _metric(value: str) -> str:
    return known("metric", list(BY_NAME), value)


def split(value: Any) -> Any:
    """Several values given with commas, as if each had been given by itself."""
    return [part for item in value for part in item.split(",")] if isinstance(value, list) else value


Length = Annotated[
    int,
    BeforeValidator(_length),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 32}, {"type": "number", "exclusiveMinimum": 0}]}),
]
Text = Annotated[str, Field(min_length=1, max_length=256, pattern=_CLEAN)]
Texts = Annotated[list[Text], Field(max_length=100)]
Sites = Annotated[Texts, Field(description="only at this site, by its whole name; may be repeated")]
Models = Annotated[
    Texts, Field(description="only of this model, by its whole name as /summary lists it; may be repeated")
]
NodesNamed = Annotated[Texts, Field(description="only of this node, by id or hostname; may be repeated")]
Time = Annotated[
    int | None,
    BeforeValidator(_time),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, _SECONDS],
            "examples": ["2026-11-21T09:00:00Z", 1795251600],
        }
    ),
]
Limit = Annotated[int, Field(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[
    Annotated[str, Field(max_length=MAX_CURSOR, json_schema_extra={"format": "cursor"})] | None,
    Field(description="`next` of the page before; the first page without it"),
]
Sort = Annotated[
    str,
    AfterValidator(_sort),
    Field(json_schema_extra={"enum": [sign + name for name in SORTS for sign in ("", "-")]}),
]
Metrics = Annotated[
    list[Annotated[str, AfterValidator(_metric), Field(json_schema_extra={"enum": list(BY_NAME)})]],
    BeforeValidator(split),
    Field(max_length=len(BY_NAME)),
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Simulated = Annotated[Flag | None, Field(description="only simulated ones, or only real ones; both without it")]
GpuName = Annotated[str, Path(alias="id", max_length=256, pattern=_CLEAN, description="A GPU's UUID or serial.")]
PartitionName = Annotated[str, Path(alias="id", max_length=256, pattern=_CLEAN, description="A partition's UUID.")]
NodeName = Annotated[str, Path(alias="id", max_length=256, pattern=_CLEAN, description="A node's id or hostname.")]


class Query(BaseModel):
    """The parameters of a query."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Query):
    """No parameters."""
