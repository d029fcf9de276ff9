"""Scenarios as data: what nodes tell over a time, and which alerts of a rule that makes."""

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
from gpufleet_server.domain import times

FOLDER = Path(__file__).parent / "scenarios"
Length = str
# A value in the metric's unit, or the word of the Reason for which it is absent.
Value = int | float | str


class NodeOf(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A node and its GPUs. `facts` are fields of wire.Host, `identity` of wire.Gpu, for each of its GPUs."""

    name: str = "n1"
    count: int = 1
    gpus: int = 2
    site: str = "s1"
    rack: str | None = "r1"
    model: str = "NVIDIA H100 80GB HBM3"
    facts: dict[str, Any] = {}
    identity: dict[str, Any] = {}


class Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Something that happens to the GPU of its play, or to its node."""

    kind: str
    code: int | None = None
    message: str = ""
    source: str = "nvml"
    detail: dict[str, Any] = {}
    partition: str | None = None


class Play(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is so from a time on; what it does not say stays as it was.

    Of all nodes, or one; of all GPUs, or one. `use` sets what a GPU's samples look like, `metrics` single ones of any
    cadence, of increments the value a second. `sends = false`: the agent is silent, and what happens waits with it.
    `uuid`: another GPU is in its place. `holder`: who has its GPUs, as fields of wire.Holder; none: nobody has.
    `clock` s: by how much its clock is ahead. `failing`: rules whose evaluation fails from then on;
    `server`: what the server tells of itself (`alerts/facts.py` has the names); `server_is`: from then on it tells
    nothing, or another process of its host does.
    """

    at: Length = "0s"
    node: str | None = None
    gpu: int | None = None
    use: Literal["idle", "busy"] | None = None
    metrics: dict[str, Value] = {}
    lost: bool | None = None
    uuid: str | None = None
    there: bool | None = None
    event: Event | None = None
    holder: dict[str, Any] | None = None
    driver: Literal["ok", "unresponsive", "absent", "failed", "paused"] | None = None
    detail: str = ""
    sends: bool | None = None
    backlog: int | None = None
    clock: float | None = None
    facts: dict[str, Any] = {}
    identity: dict[str, Any] = {}
    failing: list[str] | None = None
    server: dict[str, float | str] = {}
    server_is: Literal["gone", "restarted"] | None = None


class Expected(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An alert of the rule: of a GPU, a node, or something else that `labels` name. Times as in plays.

    `fires` and `resolves` are met by the step at that time or the next one; without `resolves` it fires to the end.
    """

    fires: Length
    resolves: Length | None = None
    node: str | None = None
    gpu: int | None = None
    labels: dict[str, str] = {}
    text: str = ""
    severity: str | None = None
    held: bool = False


class Scenario(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A story of a `length`, told and evaluated every `step` s. Without `expect` the rule must not fire.

    `with_rules`: others that are evaluated too, such as one that holds this back; `overrides` is a file of overrides.
    """

    about: str
    length: Length
    rule: str = ""
    step: int = 15
    nodes: list[NodeOf] = msgspec.field(default_factory=lambda: [NodeOf()])
    play: list[Play] = []
    expect: list[Expected] = []
    with_rules: list[str] = []
    overrides: dict[str, Any] = {}

    @property
    def fires(self) -> bool:
        """Whether it is one in which the rule fires."""
        return bool(self.expect)


def read(path: Path) -> Scenario:
    """The scenario of a file, of the rule that its folder names. msgspec.ValidationError names the field at fault."""
    found = msgspec.toml.decode(path.read_bytes(), type=Scenario)
    found.rule = path.parent.name
    return found


def every() -> list[Path]:
    """All scenario files, in the order of their rules."""
    return sorted(FOLDER.glob("*/*.toml"))


def micros(length: Length) -> int:
    """A length such as `90s` or `2m30s` in µs."""
    return sum(times.length(part) for part in re.findall(r"[\d.]+\D*", length))
