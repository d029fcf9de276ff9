"""What runs on GPUs: jobs that come and go, each with its own shape of load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.noise import Floats, Integers, noise
from gpufleet_server.simulate.plan import JOB_SECONDS

_SECOND = 1_000_000
_DAY = 86_400
_CHECKPOINT_EVERY, _CHECKPOINT = 900, 25
_RAMP = 45.0

IDLE, LEFT, HELD, TRAINING, INFERENCE = range(5)
# A row a kind of job: multiprocessors, tensor pipes, memory bandwidth, memory held, NVLink, PCIe, video, processes.
_SHAPES = np.array(
    [
        (0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0),
        (0.00, 0.00, 0.00, 0.62, 0.00, 0.00, 0.00, 0),
        (0.00, 0.00, 0.00, 0.62, 0.00, 0.00, 0.00, 1),
        (0.93, 0.58, 0.55, 0.86, 0.33, 0.06, 0.00, 1),
        (0.66, 0.27, 0.71, 0.78, 0.05, 0.09, 0.35, 2),
    ]
)
_MULTIPROCESSORS, _TENSOR, _DRAM, _MEMORY, _NVLINK, _PCIE, _VIDEO, _PROCESSES = np.ascontiguousarray(_SHAPES.T)
_JOB_KIND, _JOB_LEVEL, _JITTER, _TRAFFIC = range(1, 5)


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of every GPU (columns) at every time (rows), each a share from 0 to 1 but the processes.

    `kind` is the kind of its job, `level` the job's own level, `age` how long it runs (s), `share` how much of the
    kind's usual load it asks for now.
    """

    kind: Integers
    level: Floats
    age: Floats
    share: Floats
    multiprocessors: Floats
    tensor: Floats
    dram: Floats
    processes: Floats

    def first(self, count: int) -> Load:
        """The load at the first `count` times."""
        return Load(*(getattr(self, field)[:count] for field in self.__slots__))

    @property
    def nvlink(self) -> Floats:
        """Traffic on the NVLinks."""
        return _of(_NVLINK, self.kind) * self.share

    @property
    def pcie(self) -> Floats:
        """Traffic on PCIe."""
        return _of(_PCIE, self.kind) * self.share

    @property
    def video(self) -> Floats:
        """Load of the decoder."""
        return _of(_VIDEO, self.kind) * self.share

    def memory(self, uneven: Floats) -> Floats:
        """Device memory that is held; `uneven` is what the GPUs differ by."""
        return _of(_MEMORY, self.kind) * np.clip(self.age / _RAMP, 0.05, 1.0) * (0.9 + 0.1 * self.level) * uneven


def load(boards: Boards, times: Integers) -> Load:
    """The load of GPUs at these times (µs since the epoch)."""
    seconds = times // _SECOND
    kind, level, age = _jobs(boards, seconds)
    share = level * _shape_in_time(boards, seconds, kind, age)
    return Load(
        kind=kind,
        level=level,
        age=age,
        share=share,
        multiprocessors=np.clip(_of(_MULTIPROCESSORS, kind) * share, 0.0, 1.0),
        tensor=_of(_TENSOR, kind) * share,
        dram=_of(_DRAM, kind) * share,
        processes=_of(_PROCESSES, kind),
    )


def _of(shape: Floats, kind: Integers) -> Floats:
    return np.take(shape, kind)


def jobs(boards: Boards, times: Integers) -> tuple[Integers, Integers]:
    """The kind of the job on each GPU at these times (µs), and which of its jobs that is."""
    slot = (times[:, None] // _SECOND + boards.phase) // JOB_SECONDS
    return _kind(boards, slot), slot


def _kind(boards: Boards, slot: Integers) -> Integers:
    drawn = noise(boards.job_keys, _JOB_KIND, slot)
    kind = np.zeros(drawn.shape, dtype=np.int64)
    for threshold in boards.thresholds:
        kind += drawn >= threshold
    return kind


def _jobs(boards: Boards, seconds: Integers) -> tuple[Integers, Floats, Floats]:
    """The kind of the job on each GPU, its own level of load, and its age in seconds."""
    slot, age = np.divmod(seconds[:, None] + boards.phase, JOB_SECONDS)
    return _kind(boards, slot), 0.88 + 0.14 * noise(boards.job_keys, _JOB_LEVEL, slot), age.astype(np.float64)


def _shape_in_time(boards: Boards, seconds: Integers, kind: Integers, age: Floats) -> Floats:
    jitter = 1.0 + 0.04 * (noise(boards.keys, _JITTER, seconds) - 0.5)
    saving = (age % _CHECKPOINT_EVERY) > _CHECKPOINT_EVERY - _CHECKPOINT
    training = np.clip(age / _RAMP, 0.02, 1.0) * np.where(saving, 0.06, 1.0) * jitter
    traffic = 0.75 + 0.5 * noise(boards.keys, _TRAFFIC, seconds // 20)
    inference = _day(boards, seconds) * traffic * jitter
    return np.where(kind == TRAINING, training, np.where(kind == INFERENCE, inference, 1.0))


def _day(boards: Boards, seconds: Integers) -> Floats:
    """How much is asked for at that time of the day where each GPU stands."""
    east = np.array([site.east * 3600 for site in boards.sites], dtype=np.int64)
    hour = ((seconds[:, None] + east) % _DAY) / 3600.0
    day: Floats = (0.62 + 0.33 * np.sin((hour - 9.0) * (2 * np.pi / 24)))[:, boards.site]
    return day
