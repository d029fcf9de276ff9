"""Rows of `states`: what changed, and since when. What stayed as it was is not stored again."""

from collections.abc import Iterable, Iterator

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE
from gpufleet_agent.wire import State

from gpufleet_server.ingest.columns import PRESENT, Block
from gpufleet_server.ingest.memory import Node

Row = tuple[int, str, int, int | None, int | None]


def absences(node: Node, block: Block, offset: int) -> Iterator[Row]:
    """Where a metric of every sample becomes absent, is so for another reason, or is there again."""
    owners = [node.gpus[uuid] for uuid in block.gpus]
    before = np.stack([gpu.reasons for gpu in owners], axis=1)
    reasons = block.reasons()
    changed = reasons != np.concatenate((before[:, np.newaxis], reasons[:, :-1]), axis=1)
    for metric, time, number in np.argwhere(changed).tolist():
        reason, gpu = int(reasons[metric, time, number]), owners[number]
        ts = _after(int(block.times[time]) + offset, int(gpu.since[metric]))
        gpu.since[metric] = ts
        yield gpu.gpu_id, EVERY_SAMPLE[metric].name, ts, None, None if reason == PRESENT else reason
    for number, gpu in enumerate(owners):
        gpu.reasons = reasons[:, -1, number].copy()


def values(node: Node, states: Iterable[State], offset: int) -> Iterator[Row]:
    """New values of metrics sent on change, oldest first; those that are already known are left out."""
    for state in sorted(states, key=lambda state: state.at):
        metric, gpu = BY_NAME.get(state.metric), node.gpus[state.gpu]
        known = gpu.current.get(state.metric)
        if metric is None or (known is not None and known[1] == state.stored):
            continue
        ts = _after(state.at + offset, known[0] if known is not None else 0)
        gpu.current[state.metric] = (ts, state.stored)
        reason = metric.reason(state.stored)
        yield gpu.gpu_id, metric.name, ts, state.stored if reason is None else None, reason


def _after(ts: int, newest: int) -> int:
    # A clock that is corrected backwards must not put what is newer behind what is older.
    return max(ts, newest + 1)
