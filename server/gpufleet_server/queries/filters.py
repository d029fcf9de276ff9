"""What a listing is narrowed to. An empty filter lets everything through; several values of one mean any of them."""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    func,
    literal,
    or_,
    select,
    union_all,
)

from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import condition
from gpufleet_server.store.schema import gpus, nodes


class _Comparable:
    """Lists become tuples: a filter that narrows nothing equals the empty one, whoever made it."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FleetFilter(_Comparable):
    """A part of the fleet. Of what there is now, simulated GPUs are a part whatever `simulated` says."""

    site: Sequence[str] = ()
    model: Sequence[str] = ()
    simulated: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeFilter(_Comparable):
    """Which nodes. `node` is an id or a hostname; `q` is looked for in hostnames, ids and DMI serials."""

    site: Sequence[str] = ()
    node: Sequence[str] = ()
    state: Sequence[NodeState] = ()
    simulated: bool | None = None
    q: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuFilter(_Comparable):
    """Which GPUs. Those removed are left out unless `state` asks for them. `q`: UUID, serial or hostname.

    `use` lets only GPUs through that report: what the others are used for nobody knows.
    """

    site: Sequence[str] = ()
    node: Sequence[str] = ()
    model: Sequence[str] = ()
    state: Sequence[GpuState] = ()
    use: Sequence[Use] = ()
    simulated: bool | None = None
    q: str | None = None


Conditions = list[ColumnElement[bool]]


def of_fleet(wanted: FleetFilter) -> Conditions:
    """Conditions on `gpus` joined with `nodes`."""
    return [
        *_any_of(nodes.c.site, wanted.site),
        *_any_of(gpus.c.model, wanted.model),
        *_simulated(wanted.simulated),
    ]


def of_nodes(wanted: NodeFilter, now: int) -> Conditions:
    """Conditions on `nodes`."""
    conditions = [
        *_any_of(nodes.c.site, wanted.site),
        *named(wanted.node),
        *_any_of(condition.node_state(now), [state.value for state in wanted.state]),
        *_simulated(wanted.simulated),
    ]
    if wanted.q:
        serial = nodes.c.facts["dmi_serial"].as_string()
        conditions.append(
            or_(
                nodes.c.hostname.icontains(wanted.q, autoescape=True),
                nodes.c.uuid.istartswith(wanted.q, autoescape=True),
                func.lower(serial) == func.lower(wanted.q),
            )
        )
    return conditions


def of_gpus(wanted: GpuFilter, now: int) -> Conditions:
    """Conditions on `gpus` joined with `nodes`, but for what they are used for."""
    conditions = [
        *of_fleet(FleetFilter(site=wanted.site, model=wanted.model)),
        *named(wanted.node),
        *_simulated(wanted.simulated),
    ]
    if wanted.state:
        conditions += _any_of(condition.gpu_state(now), [state.value for state in wanted.state])
    else:
        conditions.append(gpus.c.removed_at.is_(None))
    if wanted.q:
        conditions.append(gpus.c.gpu_id.in_(_found(wanted.q)))
    return conditions


def _found(text: str) -> CompoundSelect[Any]:
    """Ids of GPUs by what is searched for: one select for each index that finds some, some of them twice."""
    begins = ((gpus.c.uuid, text), (gpus.c.uuid, f"GPU-{text}"), (gpus.c.serial, text))
    named = (func.lower(column).like(func.lower(_pattern(start)), escape="/") for column, start in begins)
    on_nodes = select(nodes.c.node_id).where(nodes.c.hostname.icontains(text, autoescape=True))
    return union_all(*(select(gpus.c.gpu_id).where(each) for each in (*named, gpus.c.node_id.in_(on_nodes))))


def _pattern(begin: str) -> str:
    """What LIKE takes for a text that begins so."""
    return re.sub("[/%_]", r"/\g<0>", begin) + "%"


def one_of(connection: Connection, column: ColumnElement[int], ids: Sequence[int]) -> ColumnElement[bool]:
    """Whether a column is one of these. There may be as many as the fleet has GPUs: they are one parameter."""
    if connection.dialect.name == "postgresql":
        # As an array, not as its text: that would be read again for every row.
        return column == func.any(literal(list(ids), ARRAY(BigInteger)))
    return column.in_(select(func.json_each(json.dumps(ids)).table_valued("value").c.value))


def of_node() -> ColumnElement[bool]:
    """The GPUs that a node holds now; correlates with `nodes`."""
    return (gpus.c.node_id == nodes.c.node_id) & gpus.c.removed_at.is_(None)


def named(wanted: Sequence[str]) -> Conditions:
    """Nodes of one of these ids or hostnames."""
    return [or_(nodes.c.uuid.in_(wanted), nodes.c.hostname.in_(wanted))] if wanted else []


def _any_of(column: ColumnElement[Any], wanted: Sequence[str]) -> Conditions:
    return [column.in_(wanted)] if wanted else []


def _simulated(wanted: bool | None) -> Conditions:
    return [] if wanted is None else [nodes.c.simulated.is_(wanted)]
