"""Boards as Grafana keeps them: classic JSON, the same bytes each time."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode

from gpufleet_dashboards import layout
from gpufleet_dashboards.board import Annotation, Board, Row
from gpufleet_dashboards.kinds import Bands, Columns, Gauges, Heat, Lines, Pie, Stat, States, Table
from gpufleet_dashboards.links import Link
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import DATASOURCE, PLUGIN, Column, Format, SqlTarget, Type
from gpufleet_dashboards.scale import BLUE, TEXT, Step, Value, written
from gpufleet_dashboards.variable import Variable

TAG = "gpufleet"
# The data source that provisioning and `push` make; where there is none of this uid, Grafana takes another of its kind.
SOURCE_UID, SOURCE_NAME = "gpufleet-pg", "gpufleet"


def document(board: Board) -> str:
    """The board as the text of a file. ValueError where it can't be laid out."""
    return encoded(dashboard(board))


def encoded(board: model.Dashboard) -> str:
    """A dashboard of the SDK's as the text of a file."""
    plain = json.loads(json.dumps(board, cls=JSONEncoder))
    for each in (*plain["links"], *plain["annotations"].get("list", [])):
        # The SDK says of all of them that they are within a menu.
        each.pop("placement", None)
    return text_of(plain)


def text_of(document: Mapping[str, Any]) -> str:
    """A dashboard's JSON as the text of a file: keys in order, so that the same has the same bytes."""
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def dashboard(board: Board) -> model.Dashboard:
    """The board as the SDK has it."""
    made = build.Dashboard(board.title).uid(board.uid).description(board.description).tags([TAG]).editable()
    made.timezone("browser").time(board.range, "now").refresh(board.refresh).tooltip(
        model.DashboardCursorSync.CROSSHAIR
    )
    made.variables([_datasource(), *(_variable(each) for each in board.variables)])
    made.annotations([_annotation(each) for each in board.annotations])
    made.link(_all_boards())
    built = made.build()
    built.panels = list(_panels(board))
    return built


def _all_boards() -> build.DashboardLink:
    link = build.DashboardLink("All boards").type(model.DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    return link.icon("dashboard").include_vars(True).keep_time(True)


def _panels(board: Board) -> Iterator[model.Panel | model.RowPanel]:
    row: model.RowPanel | None = None
    for number, placed in enumerate(layout.place(board), 1):
        if placed.panel is None:
            row = _row(placed.row, number, placed.y)
            yield row
        elif row is not None and placed.row.collapsed:
            row.panels.append(_panel(placed.panel, number, placed.x, placed.y))
        else:
            yield _panel(placed.panel, number, placed.x, placed.y)


def _row(row: Row, number: int, y: int) -> model.RowPanel:
    place = model.GridPos(h=1, w=24, x=0, y=y)
    return build.Row(row.title).id(number).collapsed(row.collapsed).grid_pos(place).build()


def _panel(panel: Panel, number: int, x: int, y: int) -> model.Panel:
    made = panel.kind.builder().id(number).title(panel.title).description(panel.description)
    made.grid_pos(model.GridPos(h=panel.h, w=panel.w, x=x, y=y))
    if panel.query is not None:
        made.datasource(DATASOURCE).with_target(SqlTarget(panel.query.sql, panel.kind.reads, "A"))
        made.interval(panel.finest).max_data_points(panel.points)
        _values(panel, made)
    built: model.Panel = made.build()
    return built


def _values(panel: Panel, made: Any) -> None:
    made.unit(panel.unit)
    if panel.links:
        made.data_links([build.DashboardLink(each.title).url(each.url) for each in panel.links])
    colouring = _colouring(panel)
    steps = panel.steps or (_plain(panel) if colouring is model.FieldColorModeId.THRESHOLDS else ())
    if steps:
        made.thresholds(build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(_steps(steps)))
    if panel.steps and isinstance(panel.kind, Lines):
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if isinstance(panel.kind, Heat):
        made.color(panel.kind.colours(panel.low, panel.high))
    if panel.values:
        made.mappings([_mapping(panel.values)])
    made.color_scheme(build.FieldColor().mode(colouring))
    for option, value in (
        (made.min, panel.low),
        (made.max, panel.high),
        (made.decimals, panel.decimals),
        (made.no_value, panel.nothing or ("no data" if isinstance(panel.kind, Stat) else None)),
        (made.display_name, panel.series_name or None),
    ):
        if value is not None:
            option(value)
    for name, properties in _overrides(panel):
        made.override_by_name(name, properties)


def _colouring(panel: Panel) -> model.FieldColorModeId:
    if isinstance(panel.kind, Pie):
        return model.FieldColorModeId.PALETTE_CLASSIC
    # By thresholds a whole line has the colour of its last value, all bars of a site that of their values, and bands
    # lose their words (grafana/grafana#71804).
    named = isinstance(panel.kind, Lines | Columns | Bands | Heat) or (isinstance(panel.kind, States) and panel.values)
    if not named and (panel.steps or panel.values or panel.kind.reads is Format.TABLE):
        return model.FieldColorModeId.THRESHOLDS
    return model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME


def _plain(panel: Panel) -> tuple[Step, ...]:
    """One colour for all values: else Grafana takes its own, red from 80 on."""
    return (Step(None, BLUE if isinstance(panel.kind, Gauges) else TEXT),)


def _overrides(panel: Panel) -> Iterator[tuple[str, list[model.DynamicConfigValue]]]:
    for name, colour in panel.colours.items():
        yield name, [_set("color", {"mode": "fixed", "fixedColor": colour})]
    if panel.query is None:
        return
    named = panel.kind.reads is Format.TABLE
    for name, column in panel.query.returns.items():
        found = list(_properties(column, panel.column_name(name), named, panel.unit))
        if panel.nothing and isinstance(panel.kind, Table):
            # Said of a panel without rows; Grafana would say it in each cell without a value, too, and in links.
            found.append(_set("noValue", "" if column.hidden else "–"))
        if found:
            yield name, found


def _properties(column: Column, title: str, named: bool, unit: str) -> Iterator[model.DynamicConfigValue]:
    if title:
        yield _set("displayName", title)
    if column.unit and column.unit != unit:
        yield _set("unit", column.unit)
    if column.type is Type.TEXT and named:
        yield _set("unit", "string")
    if column.decimals is not None:
        yield _set("decimals", column.decimals)
    if column.link is not None:
        yield _set("links", [_link(column.link)])
    if column.values:
        yield _set("mappings", [_mapping(column.values)])
    if column.steps:
        yield _set("thresholds", {"mode": "absolute", "steps": _steps(column.steps)})
    if (column.steps or column.values) and not column.hidden:
        yield _set("custom.cellOptions", {"type": "color-text"})
    if column.width is not None:
        yield _set("custom.width", column.width)
    if column.hidden:
        # The first is of Grafana up to 12.0, the second of later ones.
        yield _set("custom.hidden", True)
        yield _set("custom.hideFrom.viz", True)


def _set(option: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=option, value=value)


def _steps(steps: tuple[Step, ...]) -> list[model.Threshold]:
    return [model.Threshold(value=step.at, color=step.colour) for step in steps]


def _mapping(values: tuple[Value, ...]) -> model.ValueMap:
    return model.ValueMap(
        options={
            written(each.value): model.ValueMappingResult(text=each.text, color=each.colour, index=index)
            for index, each in enumerate(values)
        }
    )


def _link(link: Link) -> dict[str, object]:
    return {"title": link.title, "url": link.url, "targetBlank": False}


def _datasource() -> build.DatasourceVariable:
    made = build.DatasourceVariable("datasource").label("Data source").type(PLUGIN)
    made.description("The PostgreSQL of gpufleet, read by the role that `gpufleet db grant-reader` made.")
    return made.current(model.VariableOption(selected=True, text=SOURCE_NAME, value=SOURCE_UID))


def _variable(variable: Variable) -> build.QueryVariable:
    made = build.QueryVariable(variable.name).label(variable.label).description(variable.description)
    made.datasource(DATASOURCE).query(variable.query.sql).definition(variable.query.sql)
    made.refresh(model.VariableRefresh.ON_DASHBOARD_LOAD).sort(model.VariableSort.DISABLED)
    made.multi(variable.several).include_all(variable.several)
    if variable.several:
        made.current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    return made


def _annotation(annotation: Annotation) -> build.AnnotationQuery:
    made = build.AnnotationQuery().name(annotation.name).datasource(DATASOURCE).icon_color(annotation.colour)
    made.enable(annotation.shown).hide(False).type("")
    return made.target(SqlTarget(annotation.query.sql, Format.TABLE, "Anno"))
