"""What the tests of pushing share: what is pushed, and a push."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gpufleet_dashboards.provision import Source
from gpufleet_dashboards.push.access import access
from gpufleet_dashboards.push.apply import Result, State, apply
from gpufleet_dashboards.push.datasource import of
from gpufleet_dashboards.push.grafana import Grafana
from gpufleet_dashboards.push.plan import Wanted, plan

from tests.dashboards.grafana_stand_in import StandIn

PASSWORD = "secret-of-the-reader"


def board(name: str, **more: Any) -> dict[str, Any]:
    """A board as it is rendered, small."""
    panel = {"id": 1, "type": "stat", "title": "GPUs", "gridPos": {"h": 4, "w": 24, "x": 0, "y": 0}}
    return {"uid": f"gpufleet-{name}", "title": name.title(), "panels": [panel], "schemaVersion": 42, **more}


def rule(name: str, **more: Any) -> dict[str, Any]:
    """A rule as the file for provisioning has it."""
    asked = {"refId": "A", "rawSql": f"select '{name}'", "rawQuery": True, "format": "time_series"}
    threshold = {"refId": "C", "type": "threshold", "expression": "A"}
    window = {"from": 600, "to": 0}
    return {
        "uid": f"gpufleet-{name}",
        "title": name,
        "condition": "C",
        "for": "90s",
        "keepFiringFor": "5m",
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": {"severity": "warning"},
        "annotations": {"summary": f"{name} {{{{ $labels.gpu }}}}"},
        "data": [
            {"refId": "A", "datasourceUid": "gpufleet-pg", "relativeTimeRange": window, "model": asked},
            {"refId": "C", "datasourceUid": "__expr__", "relativeTimeRange": window, "model": threshold},
        ],
    } | more


def group(*rules: dict[str, Any]) -> dict[str, Any]:
    """A group as the file for provisioning has it."""
    return {"orgId": 1, "name": "gpufleet", "folder": "gpufleet", "interval": "60s", "rules": list(rules)}


SOURCE = of(Source("db:5432", "fleet", "reader", "require"), PASSWORD)
WANTED = Wanted(
    "gpufleet",
    [board("fleet"), board("gpu"), board("node")],
    "gpufleet-pg",
    SOURCE,
    [group(rule("gpu_hot"), rule("gpu_lost"))],
)


def with_boards(*boards: dict[str, Any]) -> Wanted:
    """What is wanted, with other boards and nothing else."""
    return replace(WANTED, boards=boards, datasource=None, settings=None, groups=())


def with_rules(*rules: dict[str, Any]) -> Wanted:
    """What is wanted, with other rules and no boards."""
    return replace(WANTED, boards=(), datasource=None, settings=None, groups=[group(*rules)])


def opened(stand_in: StandIn, token: str | None = None, timeout: float = 10.0) -> Grafana:
    """A client of the stand-in."""
    return Grafana(access(stand_in.url, {"GRAFANA_TOKEN": token or stand_in.token}, timeout=timeout))


def push(stand_in: StandIn, wanted: Wanted = WANTED, *, overwrite: bool = False, timeout: float = 10.0) -> Result:
    """Push, and what became of it."""
    with opened(stand_in, timeout=timeout) as grafana:
        return apply(plan(grafana, wanted, overwrite=overwrite).steps)


def states(result: Result) -> dict[str, State]:
    """What became of each thing, by its uid."""
    return {each.step.uid: each.state for each in result.outcomes}


def held(stand_in: StandIn) -> set[str]:
    """The uids of all that the stand-in has, as steps name them."""
    state = stand_in.state
    return {*state.folders, *state.datasources, *state.boards, *("/".join(place) for place in state.intervals)}


def whys(result: Result) -> Sequence[str]:
    """What is told of the things that there is something to tell of."""
    return [each.step.why for each in result.outcomes if each.step.why]
