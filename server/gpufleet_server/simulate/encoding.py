"""Reports to bytes at the least cost: that of the agents is not what a test of the server is about."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import msgspec
from gpufleet_agent.wire import Report


def _fastest() -> Callable[[bytes, int], bytes]:
    """What makes a zlib stream: python-isal, where it is there, takes a third of zlib's time for the same size."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compress
    return isal_zlib.compress


_LEVEL = 1
_compress = _fastest()
_encoder = msgspec.msgpack.Encoder()


def encode(report: Report) -> bytes:
    """The body of a request, as large as an agent's."""
    return _compress(_encoder.encode(report), _LEVEL)
