"""What simulated nodes and GPUs say they are."""

import collections

import msgspec
from gpufleet_agent.wire import Gpu, Roster
from gpufleet_server.simulate import models
from gpufleet_server.simulate.identity import roster
from gpufleet_server.simulate.plan import SimNode
from hypothesis import given

from tests.server.simulate.fleets import NODES, ORIGIN, SECOND, nodes


def everyone() -> list[Roster]:
    """The rosters of a whole fleet."""
    return [roster(node, ORIGIN) for node in NODES]


def test_no_two_gpus_share_a_board() -> None:
    """UUIDs and serials are unique in the fleet, partitions too, PCI addresses within a node."""
    rosters = everyone()
    gpus = [gpu for one in rosters for gpu in one.gpus]
    for values in (
        [gpu.uuid for gpu in gpus],
        [gpu.serial for gpu in gpus if gpu.serial],
        [part.uuid for gpu in gpus for part in gpu.partitions],
        [one.host.dmi_serial for one in rosters],
    ):
        assert values
        assert [value for value, count in collections.Counter(values).items() if count > 1] == []
    assert all(len({gpu.pci_address for gpu in one.gpus}) == len(one.gpus) for one in rosters)


@given(nodes)
def test_every_identity_field_has_a_value_or_a_reason(node: SimNode) -> None:
    """What a GPU does not tell is None with a reason, and nothing else has one."""
    for gpu in roster(node, ORIGIN).gpus:
        missing = {name for name in Gpu.__struct_fields__ if getattr(gpu, name) is None}
        assert missing == set(gpu.absent)


@given(nodes)
def test_a_roster_is_valid_on_the_wire(node: SimNode) -> None:
    """Every field keeps the wire's bounds, and the node says that it is simulated."""
    told = roster(node, ORIGIN)
    assert msgspec.convert(msgspec.to_builtins(told), Roster) == told
    assert told.host.simulated
    assert all(gpu.uuid.startswith("GPU-") for gpu in told.gpus)


def test_an_old_card_tells_little() -> None:
    """A GTX 980 has no serial, no ECC and no MIG."""
    old = next(node for node in NODES if node.model is models.GTX_980)
    gpu = roster(old, ORIGIN).gpus[0]
    assert (gpu.serial, gpu.ecc_mode, gpu.mig_mode) == (None, None, None)
    assert gpu.absent["serial"] == "unsupported"


def test_a_lost_gpu_stays_in_the_roster_as_lost() -> None:
    """Only the GPU that fell off the bus changes its state."""
    node, fault = next((n, f) for n in NODES for f in n.faults if f.kind.name == "LOST")
    before, after = roster(node, fault.start - SECOND), roster(node, fault.start)
    assert {gpu.state for gpu in before.gpus} == {"ok"}
    assert [gpu.index for gpu in after.gpus if gpu.state == "lost"] == [fault.gpu]
