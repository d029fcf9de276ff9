"""Matrices of integers as byte planes over a frame of reference: small when compressed, and readable by plain SQL.

A matrix of n times and G GPUs is kept GPU after GPU. Each GPU has a base, its least value; what is above it is kept as
planes: first the lowest byte of every value, then the second byte of every value, as many as the largest needs. So
what hardly changes costs next to nothing, and noise stays in the lowest planes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.int64]


def encode(values: NDArray[np.signedinteger[Any]], *, wide: bool) -> bytes:
    """An n × G matrix, neither 0. Bases take 8 bytes each if `wide`, else 4: then every value must fit in int32.

    It comes to the same whatever the width of the integers, and the narrower they are the quicker.
    """
    by_gpu = np.ascontiguousarray(values.T)
    base = by_gpu.min(axis=1)
    width = by_gpu.itemsize
    # Wraps as two's complement does; read as unsigned it is the difference, up to 2^(8 · width).
    above = (by_gpu - base[:, np.newaxis]).view(f"u{width}")
    most = int(above.max())
    if most >= 1 << 63:
        base, above, most = np.zeros_like(base), by_gpu.view(np.uint64), (1 << 64) - 1
    planes = (most.bit_length() + 7) // 8
    bytes_of = above.astype(f"<u{width}", copy=False).reshape(-1).view(np.uint8).reshape(-1, width)
    bases: bytes = base.astype("<i8" if wide else "<i4").tobytes()
    lifted: bytes = bytes_of[:, :planes].T.tobytes()
    return bases + lifted


def decode(data: bytes, times: int, gpus: int, *, wide: bool) -> Matrix:
    """The n × G matrix. ValueError where the length of `data` fits no number of planes."""
    width = 8 if wide else 4
    cells, rest = times * gpus, len(data) - width * gpus
    planes = rest // cells if cells else 0
    if rest != planes * cells or not 0 <= planes <= 8:
        raise ValueError(f"{len(data)} bytes are no planes of {times} × {gpus} values with bases of {width} bytes")
    base = np.frombuffer(data, f"<i{width}", gpus).astype(np.int64)
    above = np.zeros((cells, 8), np.uint8)
    above[:, :planes] = np.frombuffer(data, np.uint8, offset=width * gpus).reshape(planes, cells).T
    by_gpu = above.reshape(-1).view("<i8").reshape(gpus, times) + base[:, np.newaxis]
    return by_gpu.T
