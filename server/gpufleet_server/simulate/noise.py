"""Numbers that look random and are a pure function of (key, channel, step)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Keys = NDArray[np.uint64]


def key(*parts: object) -> int:
    """64 bits that name these parts."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def keys(*parts: object, count: int) -> Keys:
    """One key for each of `count` siblings, such as the GPUs of a node."""
    return np.array([key(*parts, number) for number in range(count)], dtype=np.uint64)


def once(of: Keys, channel: int) -> Floats:
    """One such number a key, for what does not change over time."""
    first: Floats = noise(of, channel, np.zeros(1, np.int64))[0]
    return first


def noise(of: Keys, channel: int, steps: Integers) -> Floats:
    """Evenly spread over [0, 1): a column a key. `channel` keeps different uses apart.

    A row a step where `steps` is a vector; as a matrix it gives each key its own steps.
    """
    mixed = of + np.uint64(channel * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    rows = steps if steps.ndim == 2 else steps[:, None]
    mixed = mixed + rows.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
    # The finaliser of SplitMix64.
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)
