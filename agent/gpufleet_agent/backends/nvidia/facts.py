"""Facts of a GPU or partition: a table of fields and getters, gathered with a reason for each that is absent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.library import GpuLost, Handle, ask
from gpufleet_agent.catalogue import Reason

_NOTHING = frozenset({"", "N/A", "[N/A]", "Unknown Error"})


@dataclass(frozen=True)
class Fact:
    """One way to learn one field; the first of several for a field that works is taken."""

    field: str
    read: Callable[[Handle], Any]


def get(getter: str, *arguments: Any, take: Callable[[Any], Any] = lambda value: value) -> Callable[[Handle], Any]:
    """What `take` makes of the answer of pynvml's getter."""
    return lambda handle: take(ask(getter, handle, *arguments))


def text(value: str | bytes) -> str:
    """A text as the driver gave it. Reading where it says nothing."""
    words = (value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value).strip()
    if words in _NOTHING:
        raise Reading(Reason.UNSUPPORTED)
    return words


def word(words: dict[int, str]) -> Callable[[int], str]:
    """From an enumeration's number to its word; a number that is none of it is implausible."""

    def take(number: int) -> str:
        if number not in words:
            raise Reading(Reason.IMPLAUSIBLE)
        return words[number]

    return take


@cache
def _types(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Field → its type on the wire, limits included."""
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def gather(kind: type[msgspec.Struct], facts: Iterable[Fact], handle: Handle) -> tuple[dict[str, Any], dict[str, str]]:
    """Field → value, and field → reason for those that are absent. What the wire would refuse is implausible."""
    values: dict[str, Any] = {}
    absent: dict[str, str] = {}
    types = _types(kind)
    for fact in facts:
        if fact.field in values:
            continue
        try:
            values[fact.field] = msgspec.convert(fact.read(handle), types[fact.field])
        except Reading as failed:
            absent.setdefault(fact.field, failed.reason.word)
        except GpuLost:
            absent[fact.field] = Reason.LOST.word
        except msgspec.ValidationError:
            absent[fact.field] = Reason.IMPLAUSIBLE.word
    return values, {field: reason for field, reason in absent.items() if field not in values}
