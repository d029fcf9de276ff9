"""How a panel of each kind is drawn: rough, in Grafana's manner; the figures are the query's own."""

from collections.abc import Callable, Mapping, Sequence

from tests.dashboards.drawing.box import Box, Panel
from tests.dashboards.drawing.figures import bargauge, piechart, stat
from tests.dashboards.drawing.frames import Frame
from tests.dashboards.drawing.listed import barchart, table, words
from tests.dashboards.drawing.over_time import heatmap, state_timeline, timeseries

KINDS: Mapping[str, Callable[[Panel, Sequence[Frame], Box], None]] = {
    "timeseries": timeseries,
    "trend": timeseries,
    "stat": stat,
    "gauge": bargauge,
    "bargauge": bargauge,
    "table": table,
    "state-timeline": state_timeline,
    "status-history": state_timeline,
    "heatmap": heatmap,
    "barchart": barchart,
    "piechart": piechart,
    "text": words,
}
