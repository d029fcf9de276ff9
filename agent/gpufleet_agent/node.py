"""The node's stable id: from the machine's own ids, chosen once and kept; never from the hostname."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import msgspec

from gpufleet_agent.runtime.files import write_whole
from gpufleet_agent.wire import Host
from gpufleet_agent.wire.report import NodeId

_NAMESPACE = uuid.UUID("6f3c2c5e-5a5b-5d0f-9a8e-0c1d5b7c9a41")


class _Kept(msgspec.Struct):
    node: NodeId
    basis: Annotated[str, msgspec.Meta(max_length=64)]


def node_id(state: Path, host: Host, product_uuid: str | None) -> str:
    """The id kept in the state folder, else one made of the machine's ids and kept from now on.

    Raises OSError where it had to be made up and cannot be kept: it would be another after every start.
    """
    path = state / "node.json"
    node = kept_node_id(state)
    if node is not None:
        return node
    basis, node = derive(host, product_uuid)
    try:
        write_whole(path, msgspec.json.encode(_Kept(node, basis)))
    except OSError:
        if basis == "random":
            raise
    return node


def kept_node_id(state: Path) -> str | None:
    """The id kept in the state folder."""
    try:
        return msgspec.json.decode((state / "node.json").read_bytes(), type=_Kept).node
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return None


def derive(host: Host, product_uuid: str | None) -> tuple[str, str]:
    """What the id is made of, and the id."""
    serial = f"{host.dmi_vendor}/{host.dmi_product}/{host.dmi_serial}" if host.dmi_serial else None
    sources = {"machine-id": host.machine_id, "product uuid": product_uuid, "serial": serial}
    for basis, value in sources.items():
        if value:
            return basis, str(uuid.uuid5(_NAMESPACE, f"{basis}:{value}"))
    return "random", str(uuid.uuid4())
