"""SQL functions that read packed integers, of the same names on both engines."""

import sqlite3
from collections.abc import Callable

WIDTHS = (2, 4, 8)


def _plane(width: int) -> str:
    """A cell of domain.planes: GPU g of m, time i of n, bases of `width` bytes."""
    start = f"{width} * m"
    planes = (
        f"CASE WHEN length(c) > {start} + {p} * m * n "
        f"THEN get_byte(c, {start} + {p} * m * n + g * n + i)::bigint << {8 * p} ELSE 0 END"
        for p in range(8)
    )
    return (
        f"CREATE OR REPLACE FUNCTION gpufleet_plane{width}(c bytea, g integer, i integer, m integer, n integer) "
        f"RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ "
        f"SELECT gpufleet_int{width}(c, g) + {' + '.join(planes)} $$"
    )


# No plpgsql: these are plain SQL, which PostgreSQL writes into the statement instead of calling it.
POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION gpufleet_int2(b bytea, i integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE WHEN 2 * i + 1 < length(b) THEN
    ((get_byte(b, 2 * i) | get_byte(b, 2 * i + 1) << 8) << 16) >> 16 END $$""",
    """CREATE OR REPLACE FUNCTION gpufleet_int4(b bytea, i integer) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE WHEN 4 * i + 3 < length(b) THEN
    get_byte(b, 4 * i) | get_byte(b, 4 * i + 1) << 8 | get_byte(b, 4 * i + 2) << 16 | get_byte(b, 4 * i + 3) << 24
    END $$""",
    """CREATE OR REPLACE FUNCTION gpufleet_int8(b bytea, i integer) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE WHEN 8 * i + 7 < length(b) THEN
    get_byte(b, 8 * i)::bigint | get_byte(b, 8 * i + 1)::bigint << 8 | get_byte(b, 8 * i + 2)::bigint << 16
    | get_byte(b, 8 * i + 3)::bigint << 24 | get_byte(b, 8 * i + 4)::bigint << 32
    | get_byte(b, 8 * i + 5)::bigint << 40 | get_byte(b, 8 * i + 6)::bigint << 48
    | get_byte(b, 8 * i + 7)::bigint << 56 END $$""",
    """CREATE OR REPLACE FUNCTION gpufleet_above(stored bigint, bound bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT NULLIF(GREATEST(stored, bound), bound) $$""",
    _plane(4),
    _plane(8),
)


def register(connection: sqlite3.Connection) -> None:
    """Give a connection to SQLite the same functions."""
    for width in WIDTHS:
        connection.create_function(f"gpufleet_int{width}", 2, _reader(width), deterministic=True)
    connection.create_function("gpufleet_above", 2, _above, deterministic=True)


def _above(value: int | None, least: int) -> int | None:
    """The value where it is larger than `least`: as packed, the lowest integers stand for an absent value."""
    return value if value is not None and value > least else None


def _reader(width: int) -> Callable[[bytes | None, int | None], int | None]:
    def read(packed: bytes | None, number: int | None) -> int | None:
        if packed is None or number is None or width * (number + 1) > len(packed):
            return None
        return int.from_bytes(packed[width * number : width * (number + 1)], "little", signed=True)

    return read
