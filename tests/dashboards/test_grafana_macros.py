"""The back end's macros do what Grafana publishes of them; cases as in its own tests, with columns of ours."""

import datetime

import pytest

from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.grafana_sql.intervals import Interval
from tests.dashboards.grafana_sql.macros import Expanded, Fill, MacroError, expanded


def _ms(*parts: int) -> int:
    return round(datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


EVENING = Range(_ms(2018, 4, 12, 18), _ms(2018, 4, 12, 18, 5))
BEFORE_1970 = Range(_ms(1960, 2, 1, 7), _ms(1965, 2, 3, 8))
HALVES = Range(_ms(2018, 4, 12, 18) + 500, _ms(2018, 4, 12, 19) + 120)

EXPANSIONS = [
    ("select $__time(at)", 'select at AS "time"'),
    ("select min($__time(at))", 'select min(at AS "time")'),
    ("select $__timeEpoch(ts)", 'select extract(epoch from ts) as "time"'),
    ("where $__timeFilter(ts)", "where ts BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z'"),
    ("$__timeFrom() $__timeTo()", "'2018-04-12T18:00:00Z' '2018-04-12T18:05:00Z'"),
    ("$__timeGroup(ts,'5m')", "floor(extract(epoch from ts)/300)*300"),
    ("$__timeGroup(ts , 5m )", "floor(extract(epoch from ts)/300)*300"),
    ("$__timeGroup(ts,'12d')", "floor(extract(epoch from ts)/1.0368e+06)*1.0368e+06"),
    ("$__timeGroup(ts,'20ms')", "floor(extract(epoch from ts)/0.02)*0.02"),
    ("$__timeGroup(ts,'5m'), power", 'floor(extract(epoch from ts)/300)*300 AS "time", power'),
    ("$__timeGroup(ts,'5m') as time, power", "floor(extract(epoch from ts)/300)*300 as time, power"),
    ("$__timeGroupAlias(ts,'5m')", 'floor(extract(epoch from ts)/300)*300 AS "time"'),
    ("where $__unixEpochFilter(s)", "where s >= 1523556000 AND s <= 1523556300"),
    ("$__unixEpochNanoFilter(n)", "n >= 1523556000000000000 AND n <= 1523556300000000000"),
    ("$__unixEpochNanoFrom() $__unixEpochNanoTo()", "1523556000000000000 1523556300000000000"),
    ("$__unixEpochFrom() $__unixEpochTo()", "1523556000 1523556300"),
    ("$__unixEpochGroup(a+b,'5m')", "floor((a+b)/300)*300"),
    ("$__unixEpochGroupAlias(a+b,'5m')", 'floor((a+b)/300)*300 AS "time"'),
    ("at / $__interval_ms, '$__interval'", "at / 600000, '10m'"),
    ("$__timeGroup(ts,$__interval)", "floor(extract(epoch from ts)/600)*600"),
    # An argument ends at the first parenthesis that closes, whatever it closes.
    ("$__timeFilter(to_timestamp(at))", "to_timestamp(at BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z')"),
    # A macro never lacks its first argument: the empty text is one.
    ("$__time()", ' AS "time"'),
    ("select $1, $tag$ text $tag$, count($__x)", "select $1, $tag$ text $tag$, count($__x)"),
]


def _expanded(sql: str, range_: Range = EVENING, *, timescale: bool = False) -> Expanded:
    return expanded(sql, range_, Interval(600_000), timescale=timescale)


@pytest.mark.parametrize(("sql", "to"), EXPANSIONS)
def test_macros(sql: str, to: str) -> None:
    """Each macro becomes what the plugin's own tests say."""
    assert _expanded(sql).sql == to


@pytest.mark.parametrize(("length", "seconds"), [("5m", "300.000"), ("12d", "1036800.000"), ("20ms", "0.020")])
def test_groups_of_timescale(length: str, seconds: str) -> None:
    """With TimescaleDB a group is a bucket."""
    assert _expanded(f"$__timeGroup(ts,'{length}')", timescale=True).sql == f"time_bucket('{seconds}s',ts)"


def test_times_before_1970_and_parts_of_seconds() -> None:
    """Times before the epoch count down, and a fraction is written without zeros at its end."""
    assert _expanded("$__unixEpochFilter(s)", BEFORE_1970).sql == "s >= -312915600 AND s <= -154886400"
    assert _expanded("$__timeFrom() $__timeTo()", HALVES).sql == "'2018-04-12T18:00:00.5Z' '2018-04-12T19:00:00.12Z'"


def test_the_first_of_two_same_groups_tells_whether_both_are_named() -> None:
    """Grafana looks after the first place where the text stands: the second is treated as the first."""
    assert _expanded("$__timeGroup(ts,'5m'), x GROUP BY $__timeGroup(ts,'5m')").sql.count('AS "time"') == 2
    assert _expanded("$__timeGroup(ts,'5m') AS x, $__timeGroup(ts,'5m'), y").sql.count('AS "time"') == 0


@pytest.mark.parametrize(
    ("given", "by"), [("NULL", "null"), ("previous", "previous"), ("0", 0.0), ("-1.5", -1.5), ("1e3", 1000.0)]
)
def test_fill_modes(given: str, by: str | float) -> None:
    """A third argument says how missing points are filled."""
    assert _expanded(f"$__timeGroup(ts,'5m',{given})").fill == Fill(300_000_000_000, by)
    assert _expanded(f"$__unixEpochGroupAlias(s,'5m', {given})").fill == Fill(300_000_000_000, by)
    assert _expanded("$__timeGroup(ts,'5m')").fill is None


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("$__nothing(ts)", 'unknown macro "__nothing"'),
        ("$round(x)", 'unknown macro "round"'),
        ("$__timefilter(ts)", 'unknown macro "__timefilter"'),
        ("$__timeGroup(ts)", "needs time column and interval"),
        ("$__unixEpochGroup(s)", "needs time column and interval"),
        ("$__timeGroup(ts,'often')", "error parsing interval"),
        ("$__timeGroup(ts,'5m',null)", "error parsing fill value null"),
    ],
)
def test_what_grafana_refuses(sql: str, why: str) -> None:
    """An unknown macro, too few arguments and what can't be read are told, and nothing is asked."""
    with pytest.raises(MacroError, match=why):
        _expanded(sql)


COMMENTS = [
    ("select 1 -- so", "select 1 "),
    ("select /* so */ 1", "select  1"),
    ("select /*\n so\n*/ 1", "select  1"),
    ("select 1 -- so\nfrom t", "select 1 \nfrom t"),
    ("select '-- kept' /* not */", "select '-- kept' "),
    ("select '/* kept */'", "select '/* kept */'"),
    ("select 'it''s -- kept' -- not", "select 'it''s -- kept' "),
    ('select "a -- b", "c ""-- d"""', 'select "a -- b", "c ""-- d"""'),
    ("select $$ -- kept $$, $q$ /* kept */ $q$", "select $$ -- kept $$, $q$ /* kept */ $q$"),
    ("select $__timeFrom() -- so", "select '2018-04-12T18:00:00Z' "),
    ("select $1 -- so", "select $1 "),
    ("select 1 /*app='grafana',source='bi'*/;", "select 1 /*app='grafana',source='bi'*/;"),
    ("select 1 /*i='$__interval'*/", "select 1 "),
    ("select 1 /*k='$__timeFilter(t'*/ where (x = 1)", "select 1  where (x = 1)"),
]


@pytest.mark.parametrize(("sql", "to"), COMMENTS)
def test_comments_go_before_macros_are_looked_for(sql: str, to: str) -> None:
    """Comments are taken out, not what looks like one in a text; tags without macros stay."""
    assert _expanded(sql).sql == to
