"""How an agent gets its credential: a join token for a per-node one, later that for the next. JSON on both ways."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gpufleet_agent.wire.inventory import Text
from gpufleet_agent.wire.report import Micros, NodeId


class Enrolment(Struct, kw_only=True):
    """What an agent asks, with a join token or with the credential it has: a credential for this node."""

    version: int
    node: NodeId
    hostname: Text
    agent_version: Text


class Credential(Struct, kw_only=True):
    """What the server answers. The credential is shown this once.

    One that was asked for with a credential ends those before it when it is first used, and not sooner.
    """

    node: NodeId
    credential: str


class Ack(Struct, kw_only=True):
    """The server's answer to a report that is committed (now, or before: `duplicate`).

    `roster_wanted` asks for the roster with the next report. `clock_offset` is server minus agent time, µs.
    `joins`: whether this server takes joined reports (`Report.first_seq`); one that does not know of them would take
    what it has already once more.
    """

    seq: int
    duplicate: bool
    roster_wanted: bool
    clock_offset: int
    server_time: Micros
    joins: bool = False
    renew: bool = False


class Overlap(Struct, kw_only=True):
    """What is in the problem document of HTTP 409: the server has the stream's reports up to `last_seq`."""

    last_seq: Annotated[int, Meta(ge=1)]
