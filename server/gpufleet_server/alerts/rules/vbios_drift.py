"""GPUs of a node have another VBIOS than nearly all GPUs of the same board at their site.

Mostly it is a board that came back from repair, or a firmware update that left it out. A VBIOS decides on clocks, power
and temperatures: jobs over all of them run as fast as the slowest.

**What to do.** `gpufleet gpu ID` shows which. Bring the board to the VBIOS of the others with the vendor's firmware
package, or ask the vendor whether that version is meant for it. Boards of other part numbers are not compared.
"""

from typing import Any

from sqlalchemy import Select, func, select

from gpufleet_server.alerts import peers
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node, gpu = sight.nodes(), sight.gpus()
    board, vbios = gpu.c.board_part_number, gpu.c.vbios_version
    each = (
        select(*sight.about(gpu, None).selected_columns, board.label("board"), vbios.label("vbios"))
        .where(gpu.c.state == NodeState.REPORTING.value, ~gpu.c.lost)
        .subquery("each")
    )
    beside = peers.beside_the_usual(each, each.c.vbios, each.c.board)
    named = (beside.c[name] for name in ("model", "own", "usual", "most", "peers"))
    differ = (
        select(beside.c.node_id, func.count().label("gpus"), func.min(beside.c.index).label("first"))
        .add_columns(*(func.min(column).label(column.name) for column in named))
        .where(peers.differs(beside.c))
        .group_by(beside.c.node_id)
        .subquery("differ")
    )
    names = ("model", "own", "usual", "most", "peers", "first")
    told = sight.about(node, differ.c.gpus, *(differ.c[name] for name in names))
    return told.join_from(node, differ, differ.c.node_id == node.c.node_id)


RULE = Rule(
    name="vbios_drift",
    severity=Severity.INFO,
    scope=Scope.NODE,
    condition=_condition,
    text="{value:.0f} GPUs of {hostname}, the first is {first}, have VBIOS {own}; "
    "{most} of {peers} {model} of {site} have {usual}",
    advice="Update the board's firmware, or ask the vendor whether it is meant for it.",
    needs=Needs.DRIVER,
    every=3600,
    wait=86_400,
    thresholds={
        "share": Threshold(90, "%", "Our choice: the others are nearly all alike."),
        "peers": Threshold(40, "GPUs", "Our choice: five nodes of eight; with fewer none is usual."),
    },
    labels={"category": "drift"},
    source="GCM fails a node on a VBIOS that is not the one that is set; here the fleet itself tells it.",
)
