"""What is sent to the peers says what it should."""

import struct
from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.bench.peers.remote_write import NodeEncoder

Sample = tuple[float, int]
SERIES = [{"__name__": "power", "uuid": f"GPU-{number}", "model": "x" * 200} for number in range(3)]


@given(st.data(), st.integers(1, 4))
def test_messages_read_back(data: st.DataObject, times: int) -> None:
    """Every value that is present, and no other, comes with its labels and its time."""
    shape = (len(SERIES), times)
    values = data.draw(arrays.arrays(np.float64, shape, elements=st.floats(allow_nan=False)))
    present = data.draw(arrays.arrays(np.bool_, shape))
    at = 1_700_000_000_000 + 10_000 * np.arange(times)
    want = [
        (labels, [(value, when) for value, when, there in zip(row, at.tolist(), mask, strict=True) if there])
        for labels, row, mask in zip(SERIES, values.tolist(), present.tolist(), strict=True)
    ]
    encoder = NodeEncoder(SERIES)
    for _ in range(2):
        assert list(decoded(encoder.message(at, values, present))) == [each for each in want if each[1]]


def decoded(message: bytes) -> Iterator[tuple[dict[str, str], list[Sample]]]:
    """The series of a message."""
    for _, series in fields(message):
        parts = list(fields(series))
        pairs = [[text.decode() for _, text in fields(part)] for number, part in parts if number == 1]
        yield dict(pairs), [sample(part) for number, part in parts if number == 2]


def sample(part: bytes) -> Sample:
    """The value and the time of a sample."""
    (_, value), (_, at) = fields(part)
    return struct.unpack("<d", value)[0], varint(at, 0)[0]


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message, by number."""
    position = 0
    while position < len(message):
        key, position = varint(message, position)
        if key & 7 == 2:
            size, position = varint(message, position)
        else:
            size = 8 if key & 7 == 1 else varint(message, position)[1] - position
        yield key >> 3, message[position : position + size]
        position += size


def varint(message: bytes, position: int) -> tuple[int, int]:
    """A number of a variable length, and where it ends."""
    number = shift = 0
    while True:
        byte = message[position]
        number, shift, position = number | (byte & 0x7F) << shift, shift + 7, position + 1
        if byte < 0x80:
            return number, position
