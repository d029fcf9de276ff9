"""What of usage intervals lies within an hour or a day, as SQL."""

from sqlalchemy import BigInteger, ColumnElement, Float, and_, case, cast, func, literal, or_

from gpufleet_server.domain.usage import DAY
from gpufleet_server.store.usage import usage


def overlapping(begin: int, end: int) -> list[ColumnElement[bool]]:
    """The intervals of an hour or day [begin, end), µs. None begins before its midnight."""
    going_on = or_(usage.c.end > begin, usage.c.begin >= begin)
    return [usage.c.begin >= begin // DAY * DAY, usage.c.begin < end, going_on]


def share(name: str, begin: int, end: int) -> ColumnElement[float]:
    """What is within of one of its sums, in proportion to time; whole, so that sums are exact in any order."""
    first = case((usage.c.begin > begin, usage.c.begin), else_=literal(begin, BigInteger))
    last = case((usage.c.end < end, usage.c.end), else_=literal(end, BigInteger))
    inside = cast(last - first, Float) / cast(usage.c.end - usage.c.begin, Float)
    uncut = and_(usage.c.begin >= begin, usage.c.end <= end)
    return case((uncut, cast(usage.c[name], Float)), else_=func.round(usage.c[name] * inside))
