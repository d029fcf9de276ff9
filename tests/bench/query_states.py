"""What the fleet of bench-queries has of metrics that are sent on change: those in force, and a month's errors."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, ON_CHANGE, RESERVED, Metric
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.store.tiers import DAY

PER_NODE = 8
# Counters that grow, how often one of a hundred GPUs has one more on a day, and by how much at once.
_GROWING = (
    ("ecc_dram_corrected", 1.5, 40), ("ecc_sram_corrected", 0.3, 3), ("remapped_rows_correctable", 0.05, 1),
    ("remapped_rows_uncorrectable", 0.01, 1), ("pcie_replays", 1.0, 20), ("nvlink_crc_flit_errors", 0.3, 9),
)  # fmt: skip
# (gpu_id, metric): times and values, in the order of time.
Changes = dict[tuple[int, str], list[tuple[int, int]]]


def changes(gpus: int, now: int, days: int) -> Changes:
    """What grew in the days before `now` (µs) on GPUs of the numbers 1 to `gpus`."""
    chance = random.Random(11)
    found: Changes = {}
    for name, often, at_once in _GROWING:
        for at in sorted(chance.randrange(now - days * DAY, now) for _ in range(int(gpus / 100 * often * days))):
            grown = found.setdefault((chance.randrange(gpus) + 1, name), [])
            grown.append((at, (grown[-1][1] if grown else 0) + chance.randint(1, at_once)))
    return found


def told(nodes: Sequence[SimNode], first: int, now: int, since: int, later: Changes) -> Iterator[list[Any]]:
    """Rows of `states` (gpu_id, metric, ts, value, reason) of nodes from number `first` on, all of `since` or later."""
    for metric, row in zip(ON_CHANGE, physics.states_of(Boards.of(nodes), now).tolist(), strict=True):
        for gpu_id, stored in enumerate(row, first * PER_NODE + 1):
            yield _state(gpu_id, metric, since, stored)
            for at, value in later.get((gpu_id, metric.name), ()):
                yield [gpu_id, metric.name, at, value, None]


def latest(nodes: Sequence[SimNode], first: int, now: int, since: int, later: Changes) -> Iterator[list[Any]]:
    """Rows of `latest_states` of the same nodes: node_id, then a column for each metric that is sent on change."""
    boards = Boards.of(nodes)
    stored = physics.states_of(boards, now)
    pairs = np.stack([stored, np.full_like(stored, since)], axis=-1)
    for (gpu_id, name), grown in later.items():
        place = gpu_id - 1 - first * PER_NODE
        if 0 <= place < pairs.shape[1]:
            pairs[ON_CHANGE.index(BY_NAME[name]), place] = grown[-1][1], grown[-1][0]
    for number in range(len(nodes)):
        mine = pairs[:, boards.columns(number)]
        yield [first + number + 1, *(row.astype("<i8").tobytes() for row in mine)]


def _state(gpu_id: int, metric: Metric, since: int, stored: int) -> list[Any]:
    absent = stored < metric.lowest + RESERVED
    return [gpu_id, metric.name, since, None if absent else stored, stored - metric.lowest if absent else None]
