"""Results become frames as in Grafana: times, types, series and what is filled."""

import datetime
import decimal
from typing import Any

import pytest

from tests.dashboards.grafana_sql.frames import Frame, FrameError, framed
from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.grafana_sql.macros import Fill

INT, FLOAT, NUMERIC, TEXT, BOOL, STAMP, DATE, JSON = 20, 701, 1700, 25, 16, 1184, 1082, 114
TIME = Range(0, 60_000)
MINUTE = 60_000_000_000


def _series(columns: dict[str, int], *rows: tuple[Any, ...], fill: Fill | None = None, range_: Range = TIME) -> Frame:
    return framed(list(columns.items()), rows, "time_series", range_, fill)


def _table(columns: dict[str, int], *rows: tuple[Any, ...]) -> Frame:
    return framed(list(columns.items()), rows, "table", TIME, None)


def test_types_of_a_table() -> None:
    """Numbers, texts, flags and times keep their types; what is not known is text; times are UTC."""
    kolkata = datetime.timezone(datetime.timedelta(hours=5.5))
    at = datetime.datetime(1970, 1, 1, 5, 30, 1, tzinfo=kolkata)
    frame = _table(
        {"n": INT, "x": NUMERIC, "t": TEXT, "b": BOOL, "at": STAMP, "day": DATE, "odd": 600},
        (1, decimal.Decimal("1.5"), "a", True, at, datetime.date(1970, 1, 2), "(1,2)"),
    )
    assert [each.kind for each in frame.fields] == ["number", "number", "string", "boolean", "time", "time", "string"]
    assert frame.rows == [(1, 1.5, "a", True, 1_000_000, 86_400_000_000, "(1,2)")]


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (1_790_000_000, 1_790_000_000_000), (1_790_000_000.25, 1_790_000_000_250),
        (1_790_000_000_000, 1_790_000_000_000), (1_790_000_000_000_000_000, 1_790_000_000_000), (0, 0), (None, None),
    ],
)  # fmt: skip
def test_a_number_named_time_is_a_time(value: float | None, ms: int | None) -> None:
    """Seconds, ms or ns since the epoch, told by their size; µs would be taken for ms."""
    for form in ("table", "time_series"):
        (row,) = framed([("time", FLOAT), ("v", INT)], [(value, 1)], form, TIME, None).rows
        assert row[0] == (None if ms is None else ms * 1000)


def test_only_a_table_has_an_end_of_time() -> None:
    """`timeend` of an annotation is a time."""
    columns = {"time": INT, "timeend": INT, "text": TEXT}
    assert _table(columns, (1_790_000_000, 1_790_000_060, "x")).rows == [
        (1_790_000_000_000_000, 1_790_000_060_000_000, "x")
    ]
    series = _series({"time": INT, "timeend": INT}, (1_790_000_000, 1_790_000_060))
    assert series.rows == [(1_790_000_000_000_000, 1_790_000_060.0)]


def test_each_set_of_texts_is_a_series() -> None:
    """Texts become labels; where a series has no row it has no value, and no text is the empty one."""
    frame = _series(
        {"time": INT, "site": TEXT, "state": TEXT, "gpus": INT},
        (1_790_000_000, "fra1", "held", 3),
        (1_790_000_000, None, "held", 1),
        (1_790_000_060, "fra1", "held", 4),
        (1_790_000_060, "fra1", "free", 5),
    )
    found = {(each.labels["site"], each.labels["state"]): each.values for each in frame.fields[1:]}
    assert found == {("", "held"): [1, None], ("fra1", "free"): [None, 5], ("fra1", "held"): [3, 4]}
    assert frame.fields[0].values == [1_790_000_000_000_000, 1_790_000_060_000_000]


def test_metric_names_a_series_of_three_columns_only() -> None:
    """As before Grafana 8; with a fourth column it is a label as others are."""
    three = _series({"time": INT, "metric": TEXT, "v": INT}, (1_790_000_000, "held", 1))
    assert [(each.name, each.labels) for each in three.fields[1:]] == [("held", {})]
    four = _series({"time": INT, "metric": TEXT, "v": INT, "w": INT}, (1_790_000_000, "held", 1, 2))
    assert [(each.name, each.labels) for each in four.fields[1:]] == [
        ("v", {"metric": "held"}),
        ("w", {"metric": "held"}),
    ]


@pytest.mark.parametrize(
    ("columns", "rows", "why"),
    [
        ({"at": INT, "v": INT}, [(1_790_000_000, 1)], "no time column"),
        ({"Time": INT, "v": INT}, [(1_790_000_000, 1)], "no time column"),
        ({"time": TEXT, "v": INT}, [("now", 1)], "unable to convert data to a time field"),
        ({"time": INT, "s": TEXT, "v": INT}, [(1_790_000_060, "a", 1), (1_790_000_000, "a", 1)], "sorted ascending"),
        ({"time": INT, "s": TEXT, "v": INT}, [(None, "a", 1)], "null time values"),
        ({"time": INT, "v": JSON}, [(1_790_000_000, {})], "to float failed"),
    ],
)
def test_what_can_t_be_a_series(columns: dict[str, int], rows: list[tuple[Any, ...]], why: str) -> None:
    """Times must be there, be times, ascend and not be absent."""
    with pytest.raises(FrameError, match=why):
        _series(columns, *rows)


def test_no_rows_are_no_columns() -> None:
    """Whatever was asked for."""
    assert _series({"time": INT, "v": INT}).fields == []
    assert _table({"nothing": TEXT}).fields == []


@pytest.mark.parametrize(
    ("by", "values"),
    [("null", [None, 1.0, None, 2.0]), ("previous", [None, 1.0, 1.0, 2.0]), (7.0, [7.0, 1.0, 7.0, 2.0])],
)
def test_filling(by: str | float, values: list[float | None]) -> None:
    """From the range's begin, at each step: the newest value since the one before, or what it is filled with."""
    rows = [(60, 1.0), (150, 9.0), (180, 2.0)]
    rows_in_ms = [(seconds * 1000, value) for seconds, value in rows]
    frame = _series({"time": INT, "v": FLOAT}, *rows_in_ms, fill=Fill(MINUTE, by), range_=Range(30_000, 200_000))
    assert frame.fields[0].values == [0, 60_000_000, 120_000_000, 180_000_000]
    assert frame.fields[1].values == values


def test_filling_below_a_second_is_refused() -> None:
    """There Grafana divides by zero."""
    with pytest.raises(FrameError):
        _series({"time": INT, "v": INT}, (1_790_000_000, 1), fill=Fill(20_000_000, "null"))
