"""Versions as numbers that compare as versions do, on both engines."""

import re

from sqlalchemy import BigInteger, ColumnElement, Integer, String, case, cast, func, literal

# The first number of a version counts so many of the second one.
MAJOR = 10_000


def releases(version: ColumnElement[str], dialect: str) -> ColumnElement[int]:
    """The release of a version: 12 of `0.12.1`, 30,004 of `3.4`. NULL where it does not begin with two numbers."""
    of = _postgresql if dialect == "postgresql" else _sqlite
    return of(version, 0) * MAJOR + of(version, 1)


def releases_of(version: str) -> int:
    """The same of a version that is known; 0 where there is none."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", version)
    return int(found[1]) * MAJOR + int(found[2]) if found else 0


def _postgresql(version: ColumnElement[str], place: int) -> ColumnElement[int]:
    return cast(func.substring(func.split_part(version, ".", place + 1), "^[0-9]{1,4}"), BigInteger)


def _sqlite(version: ColumnElement[str], place: int) -> ColumnElement[int]:
    # As a list of texts, for which SQLite has functions; a cast takes the digits at the beginning.
    text = literal('["', String()) + func.replace(version, ".", '","') + '"]'
    listed = case((func.json_valid(text) == 1, text), else_="[]")
    part = func.substr(func.json_extract(listed, f"$[{place}]", type_=String()), 1, 4)
    return case((part.op("GLOB")("[0-9]*"), cast(part, Integer)))
