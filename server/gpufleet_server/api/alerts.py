"""Alerts, their rules, and what keeps them quiet."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from fastapi import Query as FromQuery
from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from gpufleet_server.alerts import listing, silences
from gpufleet_server.alerts.discovery import runbook
from gpufleet_server.alerts.listing import Alert, AlertFilter, Entry
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.silences import Silence
from gpufleet_server.alerts.xid_events import DECLARED
from gpufleet_server.api import errors
from gpufleet_server.api.alert_rules import in_force
from gpufleet_server.api.answers import Answer, Instant, Number
from gpufleet_server.api.context import Context, Given, admin
from gpufleet_server.api.parameters import Cursor, Flag, Limit, NodesNamed, Nothing, Query, Sites, Text, Texts, Time
from gpufleet_server.domain import times
from gpufleet_server.domain.alerting import AlertState
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries.reading import reading, writing


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} is no time: ISO 8601 such as 2026-11-21T09:00:00Z")
    return value


router = APIRouter()
Id = Annotated[int, Path(alias="id", ge=1, lt=1 << 63, description="Its number, as the listing tells it.")]
Why = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]*$", description="for who reads it later")]
# In a body a time is text: a number would be seconds to some and microseconds to others.
Moment = Annotated[
    int,
    BeforeValidator(lambda text: times.parse(_text(text))),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
_NAME = "^[a-zA-Z_][a-zA-Z0-9_]{0,63}$"
Labels = Annotated[
    dict[Annotated[str, Field(pattern=_NAME)], Text],
    Field(min_length=1, max_length=20),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": r"^[^\x00]*$"},
            "minProperties": 1,
            "maxProperties": 20,
        }
    ),
]


class AlertItem(Answer):
    """One alert: a rule whose condition holds, or held, for a subject."""

    id: int
    rule: str
    severity: Severity
    state: AlertState
    scope: str = Field(description="gpu, partition, node, rack, site, fleet or server")
    subject: str
    node: str | None = Field(description="a node's id")
    hostname: str | None
    gpu: str | None = Field(description="UUID")
    index: int | None = Field(description="of that GPU, the driver's")
    site: str | None
    rack: str | None
    labels: dict[str, str] = Field(description="which alert it is, as receivers are told")
    value: Number | None
    text: str
    since: Instant = Field(description="since when it holds")
    last_true: Instant = Field(description="when it last was known to hold")
    fired_at: Instant | None
    resolved_at: Instant | None
    held_by: str | None = Field(description="why nobody is told: another alert, a silence or a maintenance window")
    acknowledged_at: Instant | None
    acknowledged_by: str | None
    acknowledged_why: str | None


class AlertPage(Answer):
    """Some of the alerts, the newest first."""

    items: list[AlertItem]
    next: str | None = Field(description="cursor of the next page; null at the end")
    total: int


class HistoryItem(Answer):
    """A change of an alert."""

    model_config = ConfigDict(from_attributes=True)

    at: Instant
    change: str = Field(description="fired, resolved, held, released, acknowledged, refused by a receiver, …")
    by: str
    text: str


class OneAlert(AlertItem):
    """An alert with its history and what to do."""

    advice: str
    runbook: str = Field(description="Markdown")
    history: list[HistoryItem]


class AlertsQuery(Query):
    """Which alerts."""

    state: list[AlertState] = Field([], max_length=3, description="only in this state; may be repeated")
    rule: Texts = Field([], description="only of this rule; may be repeated")
    severity: list[Severity] = Field([], max_length=3, description="only of this severity; may be repeated")
    site: Sites = Field([])
    node: NodesNamed = Field([])
    gpu: Texts = Field([], description="only of this GPU, by UUID or serial; may be repeated")
    held: Flag | None = Field(None, description="only held back ones, or only others")
    acknowledged: Flag | None = Field(None, description="only acknowledged ones, or only others")
    since: Time = Field(None, description="open at this time or later")
    until: Time = Field(None, description="begun before this time")
    limit: Limit = 100
    cursor: Cursor = None


class Acknowledgement(Answer):
    """Who has taken it on, or says that it is over."""

    model_config = ConfigDict(extra="forbid")

    by: Text
    why: Why


class SilenceItem(Answer):
    """A silence or a maintenance window."""

    id: int
    kind: str
    matchers: dict[str, str] = Field(description="label → what it has to be; * stands for anything")
    starts_at: Instant
    ends_at: Instant
    by: str
    why: str
    created_at: Instant
    ended_by: str | None
    state: Literal["coming", "active", "over"]


class SilenceList(Answer):
    """Silences and maintenance windows, the newest first."""

    items: list[SilenceItem]


class SilencesQuery(Query):
    """Which silences."""

    over: Flag = Field(False, description="also those that are over")


class NewSilence(Answer):
    """What is asked for: from `starts_at`, now without it, until `ends_at`. All matchers have to match."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["silence", "maintenance"] = "silence"
    matchers: Labels
    starts_at: Moment | None = None
    ends_at: Moment
    by: Text
    why: Why


class EndQuery(Query):
    """Who ends it."""

    by: Text = Field(description="who ends it")


@router.get("/alerts", responses=errors.documented())
def alerts_listing(context: Given, query: Annotated[AlertsQuery, FromQuery()]) -> AlertPage:
    """Alerts that are open or ever were, the newest first."""
    if query.since is not None and query.until is not None and query.since >= query.until:
        raise Problem(422, f"since {times.iso(query.since)} is not before until {times.iso(query.until)}", "since")
    given = query.model_dump(exclude={"limit", "cursor"})
    with reading(context.store) as connection:
        page = listing.listing(connection, AlertFilter(**given), limit=query.limit, cursor=query.cursor)
    return AlertPage(items=[AlertItem(**_item(one)) for one in page.items], next=page.next, total=page.total)


@router.get("/alerts/{id}", responses=errors.documented(404))
def one_alert(context: Given, alert_id: Id, query: Annotated[Nothing, FromQuery()]) -> OneAlert:
    """An alert with its history, and what to do."""
    return _one(context, alert_id)


@router.post("/alerts/{id}/ack", responses=errors.documented(400, 404, 408, 413), dependencies=[Depends(admin)])
def acknowledge_alert(
    context: Given, alert_id: Id, given: Acknowledgement, query: Annotated[Nothing, FromQuery()]
) -> OneAlert:
    """Say that somebody has taken an open alert on. Receivers are told of it as before."""
    with writing(context.store) as connection:
        done = listing.acknowledge(connection, alert_id, given.by, given.why, context.now())
    if not done:
        raise Problem(404, f"there is no alert {alert_id} that is open", "id")
    return _one(context, alert_id)


@router.post(
    "/alerts/{id}/resolve", responses=errors.documented(400, 404, 408, 409, 413), dependencies=[Depends(admin)]
)
def resolve_alert(
    context: Given, alert_id: Id, given: Acknowledgement, query: Annotated[Nothing, FromQuery()]
) -> OneAlert:
    """Say that what an open alert over XIDs or SXIDs tells of is over, such as after a reset of the GPU.

    It ends with the next round, and so do the others of this kind of the same GPU; an event says by whom and why.
    """
    rule = in_force(context).rules.get(_one(context, alert_id).rule)
    if rule is None or DECLARED not in rule.rule.on_events:
        raise Problem(409, "alerts of this rule end when what they tell of ends; silence it until then", "id")
    with writing(context.store) as connection:
        if listing.declare_healthy(connection, alert_id, given.by, given.why, context.now()) is None:
            raise Problem(404, f"there is no alert {alert_id} that is open", "id")
    return _one(context, alert_id)


@router.get("/silences", responses=errors.documented())
def silences_listing(context: Given, query: Annotated[SilencesQuery, FromQuery()]) -> SilenceList:
    """Silences and maintenance windows that hold, or are to come."""
    now = context.now()
    with reading(context.store) as connection:
        found = silences.listing(connection, now, over=query.over)
    return SilenceList(items=[_silence(one, now) for one in found])


@router.post("/silences", status_code=201, responses=errors.documented(400, 408, 413), dependencies=[Depends(admin)])
def create_silence(context: Given, given: NewSilence, query: Annotated[Nothing, FromQuery()]) -> SilenceItem:
    """Have nobody told of the alerts that match, for a time. They are evaluated, and shown, as always."""
    now = context.now()
    starts_at = now if given.starts_at is None else given.starts_at
    try:
        with writing(context.store) as connection:
            made = silences.create(
                connection, given.kind, given.matchers, starts_at, given.ends_at, by=given.by, why=given.why, now=now
            )
    except ValueError as error:
        raise Problem(422, str(error), "body.matchers" if "everything" in str(error) else "body.ends_at") from None
    return _silence(made, now)


@router.delete("/silences/{id}", status_code=204, responses=errors.documented(404), dependencies=[Depends(admin)])
def end_silence(context: Given, silence_id: Id, query: Annotated[EndQuery, FromQuery()]) -> None:
    """End a silence or a maintenance window before its time."""
    with writing(context.store) as connection:
        done = silences.end(connection, silence_id, context.now(), query.by)
    if not done:
        raise Problem(404, f"there is no silence {silence_id} that is not over", "id")


def _item(found: Alert) -> dict[str, Any]:
    told = {name: getattr(found, name) for name in AlertItem.model_fields if name != "id"}
    return told | {"id": found.alert_id}


def _one(context: Context, alert_id: int) -> OneAlert:
    with reading(context.store) as connection:
        found = listing.one(connection, alert_id)
        past = listing.history(connection, alert_id)
    if found is None:
        raise Problem(404, f"there is no alert {alert_id}", "id")
    return _told(context, found, past)


def _told(context: Context, found: Alert, past: list[Entry]) -> OneAlert:
    rules = in_force(context).rules
    known = found.rule in rules
    return OneAlert(
        **_item(found),
        advice=rules[found.rule].rule.advice if known else "",
        runbook=runbook(found.rule) if known else "",
        history=[HistoryItem.model_validate(one) for one in past],
    )


def _silence(found: Silence, now: int) -> SilenceItem:
    told = {name: getattr(found, name) for name in SilenceItem.model_fields if name not in ("id", "state")}
    return SilenceItem(id=found.silence_id, state=found.state(now), **told)
