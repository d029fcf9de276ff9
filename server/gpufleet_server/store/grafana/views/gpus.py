"""The view `gpus`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit

from gpufleet_server.store.condition import gpu_state
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.schema import gpus, nodes


def _fields() -> Iterator[Field]:
    yield from fields.of_gpu()
    yield Column("node_id", "bigint", "Its node's number in this store."), gpus.c.node_id
    yield from fields.of_node()
    yield from fields.of_place("room", "rack")
    yield fields.text("vendor", "Its vendor.", fields.named(gpus.c.vendor))
    yield fields.model()
    yield fields.text("serial", "Its board's serial number; NULL where there is none.", gpus.c.serial)
    yield Column("slot", "smallint", "Its number in its node's blocks, for ever."), gpus.c.slot
    yield fields.text("pci_address", "Where it is on its node's PCI bus.", gpus.c.pci_address)
    yield Column("memory_total", "bigint", "Its device memory.", Unit.BYTE), gpus.c.memory_total
    yield fields.text("part_number", "Its board's part number.", fields.named(gpus.c.board_part_number))
    yield fields.text("vbios", "Version of its VBIOS.", fields.named(gpus.c.vbios_version))
    yield fields.text("inforom", "Version of its InfoROM image.", fields.named(gpus.c.inforom_image_version))
    yield fields.text("firmware", "Version of its GSP firmware.", fields.named(gpus.c.gsp_firmware_version))
    yield fields.text("driver", "Version of its node's driver.", fields.named(nodes.c.driver_version))
    yield fields.text("cuda", "Newest CUDA of its node's driver.", fields.named(nodes.c.cuda_version))
    yield fields.text(
        "state",
        "`reporting`, `in_maintenance`, `lost`, `driver_failed`, `not_reporting`, or `removed` where it is gone.",
        gpu_state(fields.NOW),
    )
    yield fields.simulated()
    yield fields.time("first_seen", "When it was first seen in this node.", gpus.c.first_seen)
    yield fields.time("removed_at", "When its node no longer had it; NULL while it has.", gpus.c.removed_at)
    yield Column("removed", "boolean", "Whether it is gone: filter by this."), gpus.c.removed_at.is_not(None)
    yield (
        Column("lost", "boolean", "Whether it was lost when its node last told: `state` says whether it is."),
        gpus.c.lost,
    )
    yield fields.time("node_last_seen", "When its node last reported.", nodes.c.last_seen)


VIEW = view("gpus", "A GPU in a node, as it is now; those that are gone too.", _fields(), fields.GPUS_OF_NODES)
