"""What the reader tells the parent, and what the parent writes into its journal: length-prefixed msgpack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Union

import msgspec
from msgspec import Struct

from gpufleet_agent.backends.backend import DriverFacts, Tick
from gpufleet_agent.catalogue import BY_NAME
from gpufleet_agent.usage.entries import Used
from gpufleet_agent.usage.holder import GpuUsage
from gpufleet_agent.wire import Clock, Driver, Event, Gpu, Roster, State, pack

HEADER = 4
MAX_FRAME = 16 << 20


class Opened(Struct, tag="opened"):
    """The driver is open. `xid_gpus` are the GPUs (UUIDs) whose XIDs it tells."""

    facts: DriverFacts
    xid_gpus: list[str] = []


class Rostered(Struct, tag="rostered"):
    """The GPUs, when first read and whenever something about them changed."""

    gpus: list[Gpu]


class Ticked(Struct, tag="ticked", omit_defaults=True):
    """A sample of all GPUs and partitions: as `Tick`, with each column packed to the catalogue's width.

    `used` says who held them in it.
    """

    at: int
    duration: int
    gpus: list[str]
    columns: dict[str, bytes]
    partitions: list[str] = []
    partition_columns: dict[str, bytes] = {}
    used: Used | None = None

    @property
    def of_partitions(self) -> Ticked:
        """The part of it that is of partitions, in the place of GPUs."""
        return Ticked(at=self.at, duration=self.duration, gpus=self.partitions, columns=self.partition_columns)


class Changed(Struct, tag="changed"):
    """Metrics that are sent on change, with their new values."""

    states: list[State]


class Happened(Struct, tag="happened"):
    """Events."""

    events: list[Event]


class Listed(Struct, tag="listed"):
    """The processes on the GPUs at the end of the sample that follows."""

    gpus: list[GpuUsage]


class Alive(Struct, tag="alive"):
    """The driver answers, nothing to tell."""


class Fault(Struct, tag="fault"):
    """The session is over, and why."""

    state: Literal["absent", "failed"]
    text: str


class Begun(Struct, tag="begun"):
    """The head of a journal: which report it becomes. `interval` in ms."""

    stream: str
    seq: int
    interval: int
    clock: Clock
    driver: Driver
    roster_digest: str


class Enlisted(Struct, tag="enlisted"):
    """The report brings the roster."""

    roster: Roster
    digest: str


class Stood(Struct, tag="stood"):
    """How the driver answers from now on."""

    driver: Driver


# Unions at run time: Python 3.10 and msgspec read them.
Frame = Union[Opened, Rostered, Listed, Ticked, Changed, Happened, Alive, Fault]  # noqa: UP007
Record = Union[Begun, Enlisted, Stood, Ticked, Changed, Happened]  # noqa: UP007

_encoder = msgspec.msgpack.Encoder()
_frame: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_record: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(message: Frame | Record) -> bytes:
    """The message with its length in front."""
    body = _encoder.encode(message)
    return len(body).to_bytes(HEADER, "little") + body


def decode_frame(body: bytes) -> Frame:
    """A frame without its length. msgspec.MsgspecError where it is none."""
    return _frame.decode(body)


def decode_record(body: bytes) -> Record:
    """A journal's record without its length. msgspec.MsgspecError where it is none."""
    return _record.decode(body)


class Splitter:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now. ValueError for a length that cannot be."""
        self._rest += data
        found = list(_split(self._rest))
        if found:
            self._rest = self._rest[found[-1][1] :]
        return [body for body, _ in found]


def _split(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Each complete body, and where it ends. ValueError for a length that cannot be."""
    start = 0
    while len(data) - start >= HEADER:
        size = int.from_bytes(data[start : start + HEADER], "little")
        if not 0 < size <= MAX_FRAME:
            raise ValueError(f"a frame of {size} bytes")
        start += HEADER
        end = start + size
        if end > len(data):
            return
        yield data[start:end], end
        start = end


def ticked(tick: Tick, used: Used | None = None) -> Ticked:
    """A tick with its columns packed."""
    return Ticked(
        at=tick.at,
        duration=tick.duration,
        gpus=list(tick.gpus),
        columns=_packed(tick.columns),
        partitions=list(tick.partitions),
        partition_columns=_packed(tick.partition_columns),
        used=used,
    )


def _packed(columns: dict[str, list[int]]) -> dict[str, bytes]:
    return {name: pack(values, BY_NAME[name].width) for name, values in columns.items()}
