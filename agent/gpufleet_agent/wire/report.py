"""What one agent sends at once: samples, changed states, events and, when changed, the node's roster."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gpufleet_agent.wire.inventory import NO_NUL, Identifier, Roster, Small, Text
from gpufleet_agent.wire.usage import MAX_HOLDERS, MAX_USAGE, Holder, Usage

PROTOCOL = 1

Micros = Annotated[int, Meta(ge=0, lt=1 << 62)]
Stored = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
NodeId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?!\n)$")]
Scalar = Stored | Annotated[float, Meta(ge=-1e300, le=1e300)] | bool | Text | None

MAX_GPUS = 1024
MAX_TIMES = 3600
MAX_STATES = 200_000
MAX_EVENTS = 10_000
# What agents join at most: reports, times × GPUs (which a server fills in where columns are absent), bytes of columns.
# It is little beside what a server commits at once, and a proxy in between takes it.
MAX_JOINED = 360
MAX_JOINED_CELLS = 1 << 14
MAX_JOINED_BYTES = 1 << 20


# An Identifier whose characters `decode` looks at: dozens of them come in each report, and a pattern each costs more
# than all the rest of it.
Name = Annotated[str, Meta(min_length=1, max_length=128)]


class Clock(Struct, kw_only=True, frozen=True):
    """One moment on an agent's clocks, µs: wall clock since the epoch, and time since boot of that boot id."""

    wall: Micros
    uptime: Micros
    boot: Identifier


class Driver(Struct, kw_only=True, frozen=True):
    """How the driver answers. `since` (µs since the epoch) is when that state began.

    `paused`: the agent has let go of the driver because somebody told it to; `detail` is what they said.
    """

    state: Literal["ok", "unresponsive", "absent", "failed", "paused"]
    since: Micros
    detail: Text = ""


class Backlog(Struct, kw_only=True, frozen=True):
    """What the agent's spool held when the report was made."""

    reports: Small = 0
    bytes: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0
    dropped: Small = 0


class Samples(Struct, kw_only=True):
    """T samples of G GPUs in columns.

    `times` is T little-endian int64 (µs since the epoch, the end of each sample's interval), `durations` T
    little-endian int32 (ms, the length of that interval). `columns` maps a metric to T × G little-endian stored
    integers of the catalogue's width, all GPUs of the first time first.
    """

    gpus: Annotated[list[Name], Meta(min_length=1, max_length=MAX_GPUS)]
    times: bytes
    durations: bytes
    columns: Annotated[dict[Name, bytes], Meta(max_length=512)]


class State(Struct, array_like=True, frozen=True):
    """A new value of a metric that is sent on change, as its stored integer (absent values included)."""

    at: Micros
    gpu: Identifier
    metric: Identifier
    stored: Stored


# An event that says: another source has told the XID of this time, GPU and code too. A server adds it to that one.
XID_CONFIRMED = "xid_confirmed"


class Event(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Something that happened once. `code` is the XID for kind `xid`, the SXID for kind `sxid`.

    Of kind XID_CONFIRMED it adds to an `xid` that was told before: `at`, `gpu` and `code` are that one's, `confirms` of
    the detail is its source.
    """

    at: Micros
    kind: Identifier
    gpu: Identifier | None = None
    partition: Identifier | None = None
    code: Annotated[int, Meta(ge=0, lt=1 << 31)] | None = None
    source: Text = "agent"
    message: Annotated[str, Meta(max_length=2048, pattern=NO_NUL)] = ""
    detail: Annotated[dict[Identifier, Scalar], Meta(max_length=64)] = {}


class Report(Struct, kw_only=True):
    """One report. `(node, stream, seq)` names it for ever: the server takes each once.

    A stream begins with an agent's spool; `seq` only grows within it, gaps allowed. `created` is when the report
    was closed; `interval` (ms) is the sampling interval in force. `roster_digest` names the roster that samples
    refer to; `roster` is there when the agent has reason to think the server lacks it.

    `partition_samples` are of partitions, whose UUIDs stand in the place of GPUs'; `usage` says who held what, each
    holder written once in `holders`.

    A joined report holds what the reports `first_seq` to `seq` held and is otherwise as the last of them was; 0 stands
    for `seq`. It is sent to a server that said `Ack.joins`, which takes it if it has none of them.
    """

    version: Annotated[int, Meta(ge=1, le=1 << 16)]
    node: NodeId
    stream: NodeId
    seq: Annotated[int, Meta(ge=1, lt=1 << 62)]
    first_seq: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0
    created: Clock
    interval: Annotated[int, Meta(ge=100, le=3_600_000)]
    driver: Driver
    backlog: Backlog = Backlog()
    roster_digest: Text = ""
    roster: Roster | None = None
    samples: Annotated[list[Samples], Meta(max_length=64)] = []
    partition_samples: Annotated[list[Samples], Meta(max_length=64)] = []
    states: Annotated[list[State], Meta(max_length=MAX_STATES)] = []
    events: Annotated[list[Event], Meta(max_length=MAX_EVENTS)] = []
    holders: Annotated[list[Holder], Meta(max_length=MAX_HOLDERS)] = []
    usage: Annotated[list[Usage], Meta(max_length=MAX_USAGE)] = []

    @property
    def first(self) -> int:
        """The number of the first report that is in it."""
        return self.first_seq or self.seq
