"""A panel that says too little, or whose query does not serve it, can't be made."""

import dataclasses

import pytest
from gpufleet_agent.catalogue import METRICS
from gpufleet_dashboards import units
from gpufleet_dashboards.kinds import Columns, Gauges, Heat, Kind, Lines, Pie, Stat, States, Table, Words
from gpufleet_dashboards.links import to_gpu, to_node
from gpufleet_dashboards.query import TIME, Query, flag, metric, moment, number, text

from tests.dashboards.small import NAMED, ROWS, SERIES, panel


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"title": " "}, "has no title"),
        ({"description": "GPUs."}, "does not say what the figure means"),
        ({"unit": ""}, "has no unit"),
        ({"query": None}, "has no query"),
        ({"w": 25}, "25 wide"),
        ({"h": 0}, "0 high"),
        ({"kind": Words("text")}, "has no query"),
    ],
)
def test_a_panel_says_what_it_shows(change: dict[str, object], complaint: str) -> None:
    """Each part of it is asked for."""
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(panel(Lines(), SERIES), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Lines(), States(), Heat(), Stat(graph=True)])
def test_series_need_times_and_numbers(kind: Kind) -> None:
    """Named as Grafana names them; flags it can't draw."""
    for returns in (
        {"at": TIME, "gpus": number(units.COUNT)},
        {"time": TIME, "site": text()},
        {"time": text(), "gpus": number(units.COUNT)},
        {"time": TIME, "gpus": number(units.COUNT), "well": flag()},
    ):
        with pytest.raises(ValueError, match="panel 'GPUs'"):
            panel(kind, Query("SELECT 1", returns))


@pytest.mark.parametrize("kind", [Lines(), States(), Heat(), Stat(graph=True)])
def test_no_column_of_series_is_called_metric(kind: Kind) -> None:
    """Grafana takes that name for its own: of three columns it is no label, but the name of the series."""
    for returns in (
        {"time": TIME, "metric": text(), "gpus": number(units.COUNT)},
        {"time": TIME, "metric": number(units.COUNT)},
    ):
        with pytest.raises(ValueError, match="must not call a column `metric`"):
            panel(kind, Query("SELECT 1", returns))
    assert panel(Table(), Query("SELECT 1", {"metric": text(), "gpus": number(units.COUNT)}))


@pytest.mark.parametrize("kind", [Gauges(), Columns(), Pie()])
def test_categories_need_one_name(kind: Kind) -> None:
    """And numbers beside it."""
    for query in (SERIES, Query("SELECT 1", {"gpus": number(units.COUNT)}), Query("SELECT 1", {"site": text()})):
        with pytest.raises(ValueError, match="one column of texts"):
            panel(kind, query)


def test_a_table_is_sorted_by_a_heading() -> None:
    """Grafana knows columns by what it shows of them."""
    with pytest.raises(ValueError, match="can't sort by gpus"):
        panel(Table(sort=("gpus", False)), ROWS)


def test_states_have_words_or_steps() -> None:
    """A band of numbers without them says nothing."""
    with pytest.raises(ValueError, match="nothing of what its states are"):
        dataclasses.replace(panel(States(), SERIES), values=())


def test_series_are_named_by_their_texts() -> None:
    """Grafana would put the column's name before; of several columns it is needed."""
    two = {**SERIES.returns, "watts": metric("power")}
    assert panel(Lines(), SERIES).series_name == "${__field.labels.site}"
    assert panel(Lines(), Query("SELECT 1", two)).series_name == "${__field.name} ${__field.labels.site}"
    assert panel(Table(), NAMED).series_name == ""


def test_titles_of_series() -> None:
    """A title names the series of its column, and leaves them their labels; of a single column these tell it all."""
    one, watts = number(units.COUNT, "Of them"), metric("power", "Watts")
    bare = panel(Lines(), Query("SELECT 1", {"time": TIME, "gpus": one, "watts": watts}))
    assert [bare.column_name(name) for name in ("time", "gpus", "watts")] == ["", "Of them", "Watts"]
    labelled = panel(Lines(), Query("SELECT 1", {"time": TIME, "site": text(), "gpus": one, "watts": watts}))
    assert labelled.column_name("gpus") == "Of them ${__field.labels.site}"
    single = panel(Lines(), Query("SELECT 1", {"time": TIME, "site": text("Site"), "gpus": one}))
    assert (single.column_name("gpus"), single.column_name("site")) == ("${__field.labels.site}", "")
    assert dataclasses.replace(labelled, legend="${__field.labels.site}").column_name("gpus") == ""
    assert panel(Table(), ROWS).column_name("site") == "Site"


@pytest.mark.parametrize("link", [to_node(), to_gpu("site", "gpu"), to_node("gpus", of_series=True)])
def test_a_link_says_what_its_row_has(link: object) -> None:
    """A column that is not there, and a label that is no text, would lead to no node."""
    with pytest.raises(ValueError, match="leads to"):
        dataclasses.replace(panel(Lines(), SERIES), links=(link,))  # type: ignore[arg-type]


def test_every_metric_has_a_unit_of_grafanas() -> None:
    """Of the catalogue, so that a new unit is thought of."""
    assert all(units.unit_of(each) for each in METRICS)
    assert metric("power").unit == units.WATT


def test_a_query_is_one_statement_that_says_what_it_returns() -> None:
    """Grafana would show the last result of several."""
    with pytest.raises(ValueError, match="one statement"):
        Query("SELECT 1; SELECT 2", {"gpus": number(units.COUNT)})
    with pytest.raises(ValueError, match="which columns"):
        Query("SELECT 1")


def test_the_variables_of_a_query() -> None:
    """Grafana's own are not the board's."""
    query = Query("SELECT $site, ${node:sqlstring}, $__interval_ms, $__unixEpochTo()", {"time": moment()})
    assert query.variables == {"site", "node"}
