"""The rules of alerts as they are in force, and what they would have said."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi import Query as FromQuery
from pydantic import ConfigDict, Field

from gpufleet_server.alerts.discovery import every_rule, runbook
from gpufleet_server.alerts.last_runs import Run, last_runs
from gpufleet_server.alerts.overrides import InForce, Overrides, usual
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.service import Settings
from gpufleet_server.alerts.trial import Tried, trial
from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, Number
from gpufleet_server.api.context import Context, Given
from gpufleet_server.api.parameters import Nothing, Query, Time, known
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries.reading import reading

router = APIRouter()
Name = Annotated[str, Path(alias="name", max_length=64, pattern=r"^[^\x00]*$", description="The name of a rule.")]


class ThresholdItem(Answer):
    """A threshold of a rule."""

    name: str
    value: Number = Field(description="as it is in force")
    usual: Number
    unit: str
    source: str


class WhereItem(Answer):
    """What is set otherwise for a site, a model or both; null is any."""

    site: str | None
    model: str | None
    thresholds: dict[str, Number]
    enabled: bool | None
    severity: Severity | None
    wait_s: Number | None
    keep_s: Number | None


class RunItem(Answer):
    """How its evaluation went last."""

    model_config = ConfigDict(from_attributes=True)

    ran_at: Instant
    succeeded_at: Instant | None
    failures: int = Field(description="in a row")
    error: str
    seconds: Number
    found: int = Field(description="for how many subjects it held")
    held_back: int = Field(description="of these, by the circuit breaker")


class RuleItem(Answer):
    """A rule as it is in force."""

    name: str
    severity: Severity
    scope: str
    enabled: bool
    wait_s: Number = Field(description="for how long it has to hold before it fires")
    keep_s: Number = Field(description="for how long it fires after it last held")
    every_s: Number = Field(description="how often it is evaluated; at once for its events")
    on_events: list[str]
    held_by: list[str] = Field(description="rules whose alert on the same node, rack or site holds its alerts back")
    share: Number | None = Field(description="of the fleet above which its alerts become one; null never")
    labels: dict[str, str]
    text: str
    advice: str
    source: str
    thresholds: list[ThresholdItem]
    where: list[WhereItem]
    last_run: RunItem | None = Field(description="null where it never ran")


class RuleList(Answer):
    """All rules. `evaluated`: this server takes part in that."""

    evaluated: bool
    items: list[RuleItem]


class OneRule(RuleItem):
    """A rule with its runbook."""

    runbook: str = Field(description="Markdown")


class TriedItem(Answer):
    """A subject for which the condition held."""

    subject: str
    severity: Severity
    labels: dict[str, str]
    value: Number | None
    text: str
    fires: bool = Field(description="it had held for as long as the rule waits")


class TrialAnswer(Answer):
    """What a rule says of a time."""

    rule: str
    at: Instant
    items: list[TriedItem]


class TrialQuery(Query):
    """Of which time."""

    at: Time = Field(None, description="now without it")


def in_force(context: Context) -> Overrides:
    """The rules as they are in force on this server; as they are themselves where it does not evaluate."""
    return context.alerts.overrides if context.alerts is not None else usual(every_rule())


@router.get("/alert-rules", responses=errors.documented())
def alert_rules_listing(context: Given, query: Annotated[Nothing, FromQuery()]) -> RuleList:
    """All rules with their thresholds, as they are in force, and how their evaluation went."""
    with reading(context.store) as connection:
        runs = last_runs(connection)
    rules = in_force(context).rules.values()
    items = [RuleItem(**_told(rule, runs.get(rule.rule.name))) for rule in rules]
    return RuleList(evaluated=context.alerts is not None, items=items)


@router.get("/alert-rules/{name}", responses=errors.documented(404))
def one_alert_rule(context: Given, name: Name, query: Annotated[Nothing, FromQuery()]) -> OneRule:
    """A rule with its runbook."""
    rule = _named(context, name)
    with reading(context.store) as connection:
        runs = last_runs(connection)
    return OneRule(**_told(rule, runs.get(name)), runbook=runbook(name))


@router.get("/alert-rules/{name}/trial", responses=errors.documented(404))
def try_alert_rule(context: Given, name: Name, query: Annotated[TrialQuery, FromQuery()]) -> TrialAnswer:
    """What a rule would have said at a time, from what is stored. No alert is touched."""
    rule, at = _named(context, name), context.now() if query.at is None else query.at
    xids = (context.alerts or Settings()).xids
    with reading(context.store) as connection:
        found = trial(connection, rule, xids, at, now=query.at is None)
    return TrialAnswer(rule=name, at=at, items=[_tried(one) for one in found])


def _named(context: Context, name: str) -> InForce:
    rules = in_force(context).rules
    try:
        return rules[known("rule", list(rules), name)]
    except ValueError as error:
        raise Problem(404, str(error), "name") from None


def _told(rule: InForce, run: Run | None) -> dict[str, Any]:
    about, manner = rule.rule, rule.manner
    return {
        **{name: getattr(about, name) for name in ("name", "text", "advice", "source", "held_by", "on_events")},
        "scope": about.scope.value,
        "severity": manner.severity,
        "enabled": manner.enabled,
        "wait_s": manner.wait / SECOND,
        "keep_s": manner.keep / SECOND,
        "every_s": about.every,
        "share": rule.share,
        "labels": dict(about.labels),
        "thresholds": [
            ThresholdItem(name=name, value=rule.limits[name], usual=one.value, unit=one.unit, source=one.source)
            for name, one in about.thresholds.items()
        ],
        "where": _where(rule),
        "last_run": None if run is None else RunItem.model_validate(run),
    }


def _where(rule: InForce) -> list[WhereItem]:
    return [
        WhereItem(
            site=site,
            model=model,
            thresholds=dict(limits.limits),
            enabled=manner.get("enabled"),
            severity=manner.get("severity"),
            wait_s=manner["wait"] / SECOND if "wait" in manner else None,
            keep_s=manner["keep"] / SECOND if "keep" in manner else None,
        )
        for (site, model, manner), limits in zip(rule.parts, rule.limits.parts, strict=True)
    ]


def _tried(tried: Tried) -> TriedItem:
    found = tried.finding
    return TriedItem(
        subject=found.subject,
        severity=found.manner.severity,
        labels=dict(found.labels),
        value=found.value,
        text=found.text,
        fires=tried.fires,
    )
