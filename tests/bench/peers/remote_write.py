"""Prometheus' remote write (protocol 1): protobuf of labelled series, packed with numpy, in snappy.

The labels of a node's series never change, so that they are packed once and each request only puts its samples in.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

HEADERS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}
PATH = "/api/v1/write"

Bytes = NDArray[np.uint8]
Places = NDArray[np.intp]

# A sample: field 2 of the series, 16 bytes: field 1 a double, field 2 a varint of 6 bytes.
_SAMPLE = b"\x12\x10\x09" + bytes(8) + b"\x10" + bytes(6)
_VALUE_AT, _TIME_AT = 3, 12


class NodeEncoder:
    """Makes the messages of one node from values of its series."""

    def __init__(self, series: Sequence[Mapping[str, str]]) -> None:
        """Take the labels of each series, `__name__` among them."""
        self._labels = [_labels(labels) for labels in series]
        self._templates: dict[bytes, tuple[Bytes, Places, Places]] = {}

    def message(self, times: NDArray[np.int64], values: NDArray[np.float64], present: NDArray[np.bool_]) -> bytes:
        """A message (not yet compressed) of series × times values, those that are present; times in ms."""
        key = present.tobytes()
        if key not in self._templates:
            self._templates[key] = self._template(present)
        template, values_at, times_at = self._templates[key]
        message = template.copy()
        message[values_at] = values[present].astype("<f8").view(np.uint8).reshape(-1, 8)
        message[times_at] = _varints(times)[np.nonzero(present)[1]]
        return message.tobytes()

    def _template(self, present: NDArray[np.bool_]) -> tuple[Bytes, Places, Places]:
        message, samples = bytearray(), []
        for labels, count in zip(self._labels, present.sum(axis=1).tolist(), strict=True):
            if count:
                message += b"\x0a" + _varint(len(labels) + count * len(_SAMPLE)) + labels
                samples += [len(message) + number * len(_SAMPLE) for number in range(count)]
                message += _SAMPLE * count
        start = np.array(samples, dtype=np.intp)[:, None]
        return np.frombuffer(message, np.uint8), start + _VALUE_AT + np.arange(8), start + _TIME_AT + np.arange(6)


def body(messages: Iterable[bytes]) -> bytes:
    """The body of a request with one or more messages: put together they are one."""
    import cramjam

    return bytes(cramjam.snappy.compress_raw(b"".join(messages)))


def _labels(labels: Mapping[str, str]) -> bytes:
    # Receivers want labels in the order of their names.
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, labels[name].encode())) for name in sorted(labels))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _varints(times: NDArray[np.int64]) -> Bytes:
    """Milliseconds of the years 1971 to 2109 as varints of 6 bytes, a row each. ValueError for others."""
    if not ((times >= 1 << 35) & (times < 1 << 42)).all():
        raise ValueError("a time before 1971 or after 2109")
    groups = times[:, None] >> (7 * np.arange(6)) & 0x7F
    groups[:, :5] |= 0x80
    return groups.astype(np.uint8)
