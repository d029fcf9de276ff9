"""A checksum over samples and events in any order: what was made and what is stored are compared, none of it kept.

Each row (a GPU's sample, or an event) has a 64-bit hash, and a checksum is their number and their sum modulo 2⁶⁴.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, Reason
from gpufleet_agent.wire import Ack, Event, Samples, decode
from numpy.typing import NDArray

from gpufleet_server.simulate.agent import Sent
from gpufleet_server.simulate.noise import Integers, Keys, key

_ROW = {metric.name: row for row, metric in enumerate(EVERY_SAMPLE)}
_NOT_OBSERVED = np.array([metric.absent(Reason.NOT_OBSERVED) for metric in EVERY_SAMPLE], dtype=np.int64)
_DTYPE = {metric.name: f"<i{metric.width}" for metric in EVERY_SAMPLE}
# Odd, so that no change of a single value leaves a row's sum as it was.
_FACTORS = np.array([key("checksum", metric.name) | 1 for metric in EVERY_SAMPLE], dtype=np.uint64)
_TIME = np.uint64(key("checksum", "time") | 1)
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Checksum:
    """How many rows, and the sum of their hashes."""

    rows: int = 0
    total: int = 0

    def __add__(self, other: Checksum) -> Checksum:
        """The checksum of both together."""
        return Checksum(self.rows + other.rows, (self.total + other.total) & _MASK)

    def __sub__(self, other: Checksum) -> Checksum:
        """What is left without the other's rows."""
        return Checksum(self.rows - other.rows, (self.total - other.total) & _MASK)


def gpu_keys(node: str, gpus: Sequence[str]) -> Keys:
    """The key of each GPU of a node, of their UUIDs."""
    return np.array([key(node, gpu) for gpu in gpus], dtype=np.uint64)


def of_samples(keys: Keys, times: Integers, stored: NDArray[np.signedinteger]) -> Checksum:
    """The checksum of T samples of G GPUs.

    `keys` (G) are from `gpu_keys`, `times` (T) in µs; `stored` (M × T × G) are stored integers, absent ones included,
    in the order of the catalogue's EVERY_SAMPLE. A metric that a sample lacks is *not observed*.
    """
    hashes = (keys[None, :] ^ _mixed(times.astype(np.uint64) * _TIME)[:, None]).astype(np.uint64)
    for factor, values in zip(_FACTORS, stored, strict=True):
        hashes += values.astype(np.int64).view(np.uint64) * factor
    return Checksum(hashes.size, int(_mixed(hashes).sum(dtype=np.uint64)))


def of_block(node: str, block: Samples) -> Checksum:
    """The checksum of samples as they are on the wire."""
    times = np.frombuffer(block.times, "<i8")
    stored = np.empty((len(EVERY_SAMPLE), len(times), len(block.gpus)), dtype=np.int64)
    stored[:] = _NOT_OBSERVED[:, None, None]
    for name, column in block.columns.items():
        if name in _ROW:
            stored[_ROW[name]] = np.frombuffer(column, _DTYPE[name]).reshape(len(times), len(block.gpus))
    return of_samples(gpu_keys(node, block.gpus), times, stored)


def of_event(node: str, event: Event) -> Checksum:
    """The checksum of one event of a node: its time (µs), kind, GPU, partition, code, source, message and detail."""
    packed = msgspec.msgpack.encode(
        (node, event.at, event.kind, event.gpu, event.partition, event.code, event.source, event.message,
         sorted(event.detail.items()))
    )  # fmt: skip
    return Checksum(1, int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little"))


class Ledger:
    """Takes down what a fleet made and was told is committed; to be called for each report, as `committed=`."""

    def __init__(self) -> None:
        self.samples = self.events = Checksum()
        self.duplicates = 0

    def __call__(self, sent: Sent, ack: Ack) -> None:
        """Take down one report."""
        report = decode(sent.body)
        self.duplicates += ack.duplicate
        for block in report.samples:
            self.samples += of_block(report.node, block)
        for event in report.events:
            self.events += of_event(report.node, event)


def _mixed(of: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # The finaliser of SplitMix64.
    mixed = (of ^ (of >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
