"""Parts that several answers are made of."""

from collections.abc import Collection
from typing import Annotated, Any

import msgspec
from gpufleet_agent.catalogue import Reason
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from gpufleet_server.domain import times

# µs inside, ISO 8601 outside.
Instant = Annotated[
    int,
    PlainSerializer(times.iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-21T09:00:00.000000Z"]}),
]
ReasonText = Annotated[str, Field(description="Why there is no value.", examples=[reason.word for reason in Reason])]
# Where one is not finite it is written as null.
Number = int | float


class Answer(BaseModel):
    """An object in an answer."""

    model_config = ConfigDict(frozen=True)


class Quantity(Answer):
    """A figure over several GPUs: only over those that report and have a value."""

    value: Number | None = Field(description="null where no GPU has a value")
    unit: str
    gpus: int = Field(ge=0, description="over how many GPUs")


class NodeName(Answer):
    """Which node."""

    id: str
    hostname: str


def complete_schema(struct: type[msgspec.Struct], without: Collection[str] = ()) -> dict[str, Any]:
    """The JSON Schema of a wire struct as the API gives it: every field is there, null where it is absent."""
    described = msgspec.json.schema_components([struct])[1][struct.__name__]
    properties = {name: _without_default(part) for name, part in described["properties"].items() if name not in without}
    return {
        "type": "object",
        "title": struct.__name__,
        "description": described["description"],
        "properties": properties,
        "required": list(properties),
    }


def _without_default(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "default"}
