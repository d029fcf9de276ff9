"""SQL functions that read packed integers, of the same names on both engines."""

import sqlite3
from collections.abc import Callable
from typing import Any

WIDTHS = (2, 4, 8)


def _cell(width: int) -> str:
    """A cell of domain.planes, of a GPU whose base is known: `first` is its place in the first plane of `size` bytes.

    Bases of `width` bytes have at most as many planes.
    """
    above = "0"
    for plane in reversed(range(width)):
        place = f"first + {plane} * size" if plane else "first"
        # No plane after the first that is not there.
        above = f"CASE WHEN {place} < length(c) THEN (get_byte(c, {place})::bigint << {8 * plane}) + {above} ELSE 0 END"
    return (
        f"CREATE OR REPLACE FUNCTION gpufleet_cell{width}(c bytea, base bigint, first integer, size integer) "
        f"RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN base + {above}"
    )


def _packed(width: int, kind: str, whole: str) -> str:
    """The i-th integer of `width` bytes; `whole` makes of the bytes put together, {0}, a signed one."""
    # In parentheses: PostgreSQL reads | and << from left to right, neither before the other.
    parts = (f"(get_byte(b, {width} * i + {n})::{kind} << {8 * n})" for n in range(width))
    return (
        f"CREATE OR REPLACE FUNCTION gpufleet_int{width}(b bytea, i integer) RETURNS {kind} "
        f"LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE WHEN {width} * i + {width - 1} < length(b) "
        f"THEN {whole.format(' | '.join(parts))} END"
    )


# No plpgsql: these are plain SQL, which PostgreSQL writes into the statement instead of calling it. RETURN, and not a
# text: what they call is found now, not by the search path of whoever asks.
POSTGRESQL = (
    _packed(2, "integer", "(({0}) << 16) >> 16"),
    _packed(4, "integer", "{0}"),
    _packed(8, "bigint", "{0}"),
    "CREATE OR REPLACE FUNCTION gpufleet_above(stored bigint, bound bigint) RETURNS bigint "
    "LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN NULLIF(GREATEST(stored, bound), bound)",
    _cell(4),
    _cell(8),
    "CREATE OR REPLACE FUNCTION gpufleet_bits(bits bigint) RETURNS bigint "
    "LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN bit_count(bits::bit(64))",
    # For whoever asks by hand: `span >= gpufleet_micros(now() - interval '1 day')` finds the partitions.
    "CREATE OR REPLACE FUNCTION gpufleet_micros(at timestamptz) RETURNS bigint "
    "LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN (extract(epoch FROM at) * 1000000)::bigint",
)


def register(connection: sqlite3.Connection) -> None:
    """Give a connection to SQLite the same functions."""
    for width in WIDTHS:
        connection.create_function(f"gpufleet_int{width}", 2, _reader(width), deterministic=True)
    connection.create_function("gpufleet_above", 2, _above, deterministic=True)
    connection.create_function("gpufleet_bits", 1, int.bit_count, deterministic=True)
    connection.create_aggregate("bit_or", 1, _Union)


class _Union:
    """PostgreSQL's bit_or: the bits that any row has set."""

    def __init__(self) -> None:
        self._bits: int | None = None

    def step(self, bits: int | None) -> None:
        """Another row."""
        if bits is not None:
            self._bits = bits if self._bits is None else self._bits | bits

    def finalize(self) -> Any:
        """All of them; None where there is no row."""
        return self._bits


def _above(value: int | None, least: int) -> int | None:
    """The value where it is larger than `least`: as packed, the lowest integers stand for an absent value."""
    return value if value is not None and value > least else None


def _reader(width: int) -> Callable[[bytes | None, int | None], int | None]:
    def read(packed: bytes | None, number: int | None) -> int | None:
        if packed is None or number is None or width * (number + 1) > len(packed):
            return None
        return int.from_bytes(packed[width * number : width * (number + 1)], "little", signed=True)

    return read
