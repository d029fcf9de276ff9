"""Nodes of a site run an agent that is several releases behind: the newest in the fleet, and this server's own.

Servers understand agents of older releases, but these don't tell what later ones do: rules over it stay silent there.

**What to do.** Upgrade them. The alert counts the nodes of one site with one version and names one of them;
`gpufleet nodes --json` has the version of each. A node that is away is not counted.
"""

from typing import Any

from sqlalchemy import Float, Select, case, cast, func, literal, null, select

from gpufleet_server import __version__
from gpufleet_server.alerts import versions
from gpufleet_server.alerts.limits import PREFIX
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState

_OWN = versions.releases_of(__version__)


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    number = versions.releases(node.c.agent_version, sight.dialect)
    each = (
        select(node, number.label("number"))
        .where(node.c.state != NodeState.NOT_REPORTING.value, number.is_not(None))
        .subquery("each")
    )
    newest = select(func.max(each.c.number)).scalar_subquery()
    latest = case((newest > _OWN, newest), else_=literal(_OWN))
    behind = func.min(each.c[PREFIX + "releases"])
    return (
        select(each.c.site, each.c.agent_version.label("key"), cast(func.count(), Float(53)).label("value"))
        .add_columns(func.min(each.c.hostname).label("one"), null().label("node_id"), behind.label("limit_releases"))
        .group_by(each.c.site, each.c.agent_version)
        .having(latest - func.min(each.c.number) > behind)
    )


RULE = Rule(
    name="agent_outdated",
    severity=Severity.INFO,
    scope=Scope.SITE,
    condition=_condition,
    text="{value:.0f} nodes of {site}, such as {one}, run agent {key}",
    advice="Upgrade the agents of that version.",
    needs=Needs.NOTHING,
    every=900,
    wait=86_400,
    keep=3600,
    thresholds={
        "releases": Threshold(2, "releases", "Our choice: an upgrade of the fleet may take as long as a release.")
    },
    key_label="agent_version",
    labels={"category": "gpufleet"},
    source="A rollout takes a day, as of drivers.",
    share=None,
)
