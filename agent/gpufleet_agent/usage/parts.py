"""Which part of a GPU's time each of its partitions stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gpufleet_agent.usage.entries import Place
from gpufleet_agent.wire import Gpu


class Part(NamedTuple):
    """Shares of a GPU's time at which a place's part begins and ends.

    `instance` names the GPU instance that it is in: its compute instances have memory and activity in common.
    """

    begin: float
    end: float
    instance: tuple[str, object]


NO_PART = Part(0.0, 0.0, ("", None))


def parts(gpus: Sequence[Gpu]) -> dict[Place, Part]:
    """The part of each place: 0 to 1 of a GPU without partitions.

    Where the share of one of its partitions is not known, all of them are taken to be alike.
    """
    found: dict[Place, Part] = {}
    for gpu in gpus:
        shares = [partition.share or 0.0 for partition in gpu.partitions]
        shares = shares if all(shares) else [1.0] * len(shares)
        whole = max(1.0, sum(shares))
        end = 0.0
        for partition, share in zip(gpu.partitions, shares, strict=True):
            begin, end = end, min(1.0, end + share / whole)
            instance = partition.uuid if partition.gpu_instance is None else partition.gpu_instance
            found[gpu.uuid, partition.uuid] = Part(begin, end, (gpu.uuid, instance))
        if not gpu.partitions:
            found[gpu.uuid, None] = Part(0.0, 1.0, (gpu.uuid, None))
    return found
