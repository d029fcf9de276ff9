"""Which part of a GPU's time each of its partitions stands for."""

from __future__ import annotations

from collections.abc import Sequence

from gpufleet_agent.usage.entries import Place
from gpufleet_agent.wire import Gpu

Part = tuple[float, float]


def parts(gpus: Sequence[Gpu]) -> dict[Place, Part]:
    """Where the part of each place begins and ends, as shares of its GPU: 0 to 1 of a GPU without partitions.

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
            found[gpu.uuid, partition.uuid] = begin, end
        if not gpu.partitions:
            found[gpu.uuid, None] = 0.0, 1.0
    return found
