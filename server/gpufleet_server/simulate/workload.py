"""What runs on the GPUs of a node: jobs that come and go, each with its own shape of load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpufleet_server.simulate.noise import Floats, Integers, noise
from gpufleet_server.simulate.plan import JOB_SECONDS, SimNode

_SECOND = 1_000_000
_DAY = 86_400
_CHECKPOINT_EVERY, _CHECKPOINT = 900, 25
_RAMP = 45.0

IDLE, HELD, TRAINING, INFERENCE = range(4)
# A row a kind of job: multiprocessors, tensor pipes, memory bandwidth, memory held, NVLink, PCIe, video, processes.
_SHAPES = np.array(
    [
        (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0),
        (0.00, 0.00, 0.00, 0.62, 0.00, 0.00, 0.00, 1),
        (0.93, 0.58, 0.55, 0.86, 0.33, 0.06, 0.00, 1),
        (0.66, 0.27, 0.71, 0.78, 0.05, 0.09, 0.35, 2),
    ]
)
_JOB_KIND, _JOB_LEVEL, _JITTER, _TRAFFIC = range(1, 5)


@dataclass(frozen=True, slots=True)
class Load:
    """Load of every GPU (columns) at every time (rows), each a share from 0 to 1 except the number of processes."""

    multiprocessors: Floats
    tensor: Floats
    dram: Floats
    memory: Floats
    nvlink: Floats
    pcie: Floats
    video: Floats
    processes: Floats

    def first(self, count: int) -> Load:
        """The load at the first `count` times."""
        return Load(*(getattr(self, field)[:count] for field in self.__slots__))


def load(node: SimNode, times: Integers) -> Load:
    """The load of a node's GPUs at these times (µs since the epoch)."""
    seconds = times // _SECOND
    kind, level, age = _jobs(node, seconds)
    share = level * _shape_in_time(node, seconds, kind, age)
    shape = _SHAPES[kind]
    held = shape[..., 3] * np.clip(age / _RAMP, 0.05, 1.0) * (0.9 + 0.1 * level) * node.uneven
    return Load(
        multiprocessors=np.clip(shape[..., 0] * share, 0.0, 1.0),
        tensor=shape[..., 1] * share,
        dram=shape[..., 2] * share,
        memory=held,
        nvlink=shape[..., 4] * share,
        pcie=shape[..., 5] * share,
        video=shape[..., 6] * share,
        processes=shape[..., 7],
    )


def _jobs(node: SimNode, seconds: Integers) -> tuple[Integers, Floats, Floats]:
    """The kind of the job on each GPU, its own level of load, and its age in seconds."""
    slot, age = np.divmod(seconds[:, None] + node.phase, JOB_SECONDS)
    drawn = noise(node.job_keys, _JOB_KIND, slot)
    kind = np.searchsorted(np.cumsum(node.use.value), drawn, side="right").clip(IDLE, INFERENCE)
    return kind.astype(np.int64), 0.88 + 0.14 * noise(node.job_keys, _JOB_LEVEL, slot), age.astype(np.float64)


def _shape_in_time(node: SimNode, seconds: Integers, kind: Integers, age: Floats) -> Floats:
    jitter = 1.0 + 0.04 * (noise(node.keys, _JITTER, seconds) - 0.5)
    saving = (age % _CHECKPOINT_EVERY) > _CHECKPOINT_EVERY - _CHECKPOINT
    training = np.clip(age / _RAMP, 0.02, 1.0) * np.where(saving, 0.06, 1.0) * jitter
    hour = ((seconds + node.site.east * 3600) % _DAY)[:, None] / 3600.0
    day = 0.62 + 0.33 * np.sin((hour - 9.0) * (2 * np.pi / 24))
    traffic = 0.75 + 0.5 * noise(node.keys, _TRAFFIC, seconds // 20)
    return np.where(kind == TRAINING, training, np.where(kind == INFERENCE, day * traffic * jitter, 1.0))
