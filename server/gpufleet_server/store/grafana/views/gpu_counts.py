"""The view `gpu_counts`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import case

from gpufleet_server.store.gpu_counts import COUNTS, POWER_LIMIT, VERSIONS, gpu_counts
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Column, Field, view

_HELP = {
    "driver": "Version of its node's driver",
    "cuda": "Newest CUDA of its node's driver",
    "vbios": "Version of its VBIOS",
    "part_number": "Its board's part number",
    "inforom": "Version of its InfoROM image",
    "firmware": "Version of its GSP firmware",
}
_C = gpu_counts.c


def _by(name: str) -> str:
    return " or ".join(f"`{what}`" for what, columns in COUNTS.items() if name in columns)


def _fields() -> Iterator[Field]:
    yield from fields.at(_C.at, "When all were counted")
    words = ", ".join(f"`{what}`" for what in COUNTS)
    yield fields.text("what", f"What it is a count by: {words}. Each counts all GPUs: choose one.", _C.what)
    yield fields.text("site", f"The nodes' site; `{fields.NONE}` where they have none.", fields.named_group(_C.site))
    yield fields.text("model", f"Their model; `{fields.NONE}` where it is not known.", fields.named_group(_C.model))
    yield Column("simulated", "boolean", "Whether these are of simulated nodes."), _C.simulated
    for name in VERSIONS:
        told = case((_C[name] == "", fields.NONE), else_=_C[name])
        yield fields.text(
            name, f"{_HELP[name]}; `{fields.NONE}` where nobody told. NULL in counts by other than {_by(name)}.", told
        )
    limit, kind = fields.in_unit(POWER_LIMIT, _C[POWER_LIMIT.name]), fields.type_of(POWER_LIMIT)
    help = f"{POWER_LIMIT.help} NULL where it is absent, and in counts by other than {_by(POWER_LIMIT.name)}."
    yield Column(POWER_LIMIT.name, kind, help, POWER_LIMIT.unit), limit
    yield Column("gpus", "integer", "How many GPUs nodes have, silent nodes too.", Unit.COUNT), _C.gpus
    yield Column("nodes", "integer", "How many nodes have such a GPU.", Unit.COUNT), _C.nodes


VIEW = view(
    "gpu_counts",
    "How many GPUs of a site and model have the same versions, or the same power limit; counted once a minute.",
    _fields(),
    gpu_counts,
)
