"""The front end's variables become text as Grafana's own do."""

from typing import Any

import pytest

from tests.dashboards.grafana_sql.formats import FormatError
from tests.dashboards.grafana_sql.front import ALL, Asked, Range, Variable, replaced
from tests.dashboards.grafana_sql.intervals import Interval

TIME = Range(1_523_556_000_123, 1_523_559_600_500)
ONE = Variable("site", "it's")
OF_SEVERAL = Variable("site", "it's", include_all=True, options=("it's", "b"))
SEVERAL = Variable("site", ("it's", 'b"c'), multi=True, options=("it's", 'b"c', "d"))
EVERY = Variable("site", (ALL,), multi=True, include_all=True, options=("it's", "d"))
OWN_ALL = Variable("site", ALL, include_all=True, all_value="SELECT '$other'", options=("a", "b"))


def _replaced(text: str, *variables: Variable, **fields: Any) -> str:
    return replaced(text, Asked(TIME, variables, **fields))


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        (ONE, "it''s"),
        (OF_SEVERAL, "'it''s'"),
        (SEVERAL, "'it''s','b\"c'"),
        (EVERY, "'it''s','d'"),
        (Variable("site", (), multi=True), ""),
        (Variable("site", "", multi=False), ""),
        (Variable("site", ("",), multi=True), "''"),
        (OWN_ALL, "SELECT '$other'"),
    ],
)
def test_without_a_format_it_is_quoted_where_there_may_be_several(variable: Variable, text: str) -> None:
    """A single value only has its quotes doubled; several are texts of SQL; what All stands for is taken as it is."""
    for reference in ("$site", "${site}", "[[site]]"):
        assert _replaced(f"x {reference} y", variable) == f"x {text} y"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("csv", "it's,b\"c"),
        ("raw", "it's,b\"c"),
        ("pipe", "it's|b\"c"),
        ("join", "it's,b\"c"),
        ("join:;", "it's;b\"c"),
        ("sqlstring", "'it''s','b\\\"c'"),
        ("singlequote", "'it\\'s','b\"c'"),
        ("doublequote", '"it\'s","b\\"c"'),
        ("glob", "{it's,b\"c}"),
        ("json", '["it\'s","b\\"c"]'),
        ("regex", "(it's|b\"c)"),
        ("percentencode", "%7Bit%27s%2Cb%22c%7D"),
        ("queryparam", "var-site=it%27s&var-site=b%22c"),
        ("text", "it's + b\"c"),
    ],
)
def test_formats(form: str, text: str) -> None:
    """Each format writes several values in its own way; :sqlstring harms a quote that PostgreSQL does not mind."""
    assert _replaced(f"${{site:{form}}}", SEVERAL) == text


def test_formats_of_one_value() -> None:
    """A single value is written without what stands between several."""
    one = Variable("site", "a.b$")
    written = {form: _replaced(f"${{site:{form}}}", one) for form in ("csv", "regex", "glob", "json", "sqlstring")}
    assert written == {"csv": "a.b$", "regex": r"a\.b\$", "glob": "a.b$", "json": "a.b$", "sqlstring": "'a.b$'"}


def test_what_all_stands_for_may_name_variables() -> None:
    """A value of All's own is looked through once more, in the format of no data source."""
    assert _replaced("$site", OWN_ALL, Variable("other", ("it's", "b"), multi=True)) == "SELECT '{it's,b}'"
    assert _replaced("${site:text}", OWN_ALL) == "All"


def test_a_value_is_not_looked_through() -> None:
    """A value that looks like a variable stays as it is, and so does a name that nobody has."""
    assert _replaced("$site $rack", Variable("site", "$rack"), Variable("rack", "$site")) == "$rack $site"
    assert _replaced("$nobody ${nobody:csv} [[nobody]] $__timeFilter(x)") == (
        "$nobody ${nobody:csv} [[nobody]] $__timeFilter(x)"
    )


def test_a_value_that_reads_as_all_is_all() -> None:
    """Grafana can't tell a site of that name from All."""
    site = Variable("site", ("$__all",), multi=True, include_all=True, options=("a", "$__all"))
    assert _replaced("$site", site) == "'a','$__all'"


def test_names_end_where_their_letters_do() -> None:
    """A name has ASCII letters, digits and _; `${v}` ends where it says."""
    site = Variable("site", "a")
    assert _replaced("$site_id $site-id ${site}_id $siteä", site) == "$site_id a-id a_id aä"


def test_grafana_s_own_variables() -> None:
    """The time in ms or as asked, the panel's interval, the zone."""
    asked = {"interval": Interval(300_000), "zone": "Asia/Kolkata"}
    assert _replaced("$__from ${__to}", **asked) == "1523556000123 1523559600500"
    assert _replaced("${__from:date} ${__from:date:seconds} ${__to:date:seconds} ${__from:date:ms}", **asked) == (
        "2018-04-12T18:00:00.123Z 1523556000 1523559601 1523556000123"
    )
    assert _replaced("'$__interval' $__interval_ms ${__interval_ms} $__timezone", **asked) == (
        "'5m' 300000 300000 Asia/Kolkata"
    )
    assert _replaced("$__interval_ms $__interval") == "$__interval_ms $__interval"
    with pytest.raises(FormatError):
        _replaced("${__from:date:YYYY-MM}")
