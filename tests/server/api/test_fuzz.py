"""The OpenAPI document and the API hold each other to what they say, under generated requests."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import pytest
import schemathesis
from fastapi import FastAPI
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE, Reason
from gpufleet_server import api
from gpufleet_server.alerts import silences
from gpufleet_server.domain import times
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens
from gpufleet_server.store.alerts import alerts
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from gpufleet_server.store.schema import tokens as schema_tokens
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance
from sqlalchemy import insert, update

from tests.server.fleet import NOW, SECOND, Fleet
from tests.server.used import HOUR, Used

# What no JSON Schema says: cursors are the server's own, and times and steps depend on each other.
BEYOND_SCHEMA = (
    *("query.cursor", "query.start", "query.since", "query.step", "query.order"),
    *("body.matchers", "body.ends_at"),
)

Case = schemathesis.Case[Any]


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, str]]:
    """The API over a small fleet with everything in it that answers can show, and an admin token."""
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('fuzz')}/fleet.db")
    migrate(store)
    _fill(Fleet(store))
    with store.writing() as connection:
        _, text = tokens.create(connection, TokenKind.ADMIN, "fuzz", now=NOW)
        # Out of reach of the requests that revoke tokens, unlike the rest.
        connection.execute(update(schema_tokens).values(token_id=1 << 40))
        spare = [{"token_id": n, "kind": "join", "name": "", "hash": f"{n}", "created_at": NOW} for n in range(1, 200)]
        connection.execute(insert(schema_tokens), spare)
    yield api.build(store, tokens.TokenCache(store, lambda: NOW), now=lambda: NOW), text
    store.close()


def _fill(fleet: Fleet) -> None:
    east = fleet.node("east-1", site="east", simulated=True)
    silent = fleet.node("west-1", site="west", last_seen=0)
    one = fleet.gpu(east, "GPU-1", serial="S1", model="H100", position=0, vendor="nvidia", memory_total=1 << 36)
    fleet.gpu(east, "GPU-2", serial="S2", removed_at=NOW)
    fleet.gpu(silent, "GPU-3", lost=True, identity={"uuid": "GPU-3", "absent": {"model": "unsupported"}})
    fleet.partition(one, "MIG-1", profile="1g.10gb")
    used = Used(fleet.store)
    step = used.holder(east, "slurm", uid=1, user="alice", job="1", step="0", absent={"account": "no permission"})
    used.interval(east, 0, step, NOW - HOUR, NOW, active=50)
    used.now(east, NOW, (0, step), partition="MIG-1")
    _alarm(fleet.store)
    for age in range(20):
        values = {metric.name: 7 for metric in EVERY_SAMPLE if metric.name != "fan_speed"}
        fleet.sample(one, NOW - age * 10 * SECOND, 10_000, **values)
        fleet.event(east, "xid", NOW - age * SECOND, gpu_id=one, code=79, detail={"pid": age})
    fleet.state(one, "fan_speed", NOW - 3600 * SECOND, reason=Reason.UNSUPPORTED)
    for metric in ON_CHANGE:
        fleet.state(one, metric.name, NOW - 60 * SECOND, 1)


def _alarm(store: Store) -> None:
    until = NOW + 3600 * SECOND
    with store.writing() as connection:
        for number in range(1, 100):
            # Those of some rules somebody may end, those of others not.
            rule = ("gpu_lost", "xid_reset_gpu")[number % 2]
            row = {"alert_id": number, "rule": rule, "subject": f"gpu:{number}", "scope": "gpu", "node_id": 1}
            row |= {"severity": "critical", "state": "firing", "labels": {"site": "east"}, "text": "gone", "version": 1}
            connection.execute(insert(alerts), row | {"since": NOW, "last_true": NOW, "fired_at": NOW, "gpu_id": 1})
        for _ in range(199):
            silences.create(connection, "silence", {"site": "x"}, NOW, until, by="me", why="why", now=NOW)


# What there is, by the beginning of a path: chance would hit none of it.
NAMES: dict[str, list[Any]] = {
    "/gpus": ["GPU-1", "S2", "GPU-3"],
    "/partitions": ["MIG-1"],
    "/nodes": ["east-1", "west-1"],
    "/tokens": list(range(1, 200)),
    "/alerts": list(range(1, 100)),
    "/silences": list(range(1, 200)),
    "/alert-rules": ["gpu_lost", "hot_against_limits"],
}


def _aim(case: Case, number: int) -> None:
    """Let two of three requests ask for what is there, or may be: of drawn times hardly any two go together."""
    named = next((name for name in ("id", "name") if name in (case.path_parameters or {})), "")
    known = NAMES["/" + case.operation.path.split("/")[1]] if named else []
    if known and number % 3:
        case.path_parameters[named] = known[number % len(known)]
    if case.operation.label == "POST /silences" and number % 3:
        drawn: Any = case.body
        drawn.pop("starts_at", None)
        drawn |= {"matchers": {"site": "east"}, "ends_at": times.iso(NOW + HOUR)}


def _is_valid_as_sent(operation: Any, url: str) -> bool:
    """Whether the query, which knows only words, is as documented: a number is also a word, and nothing is not sent."""
    if operation.body or operation.path_parameters:
        return False
    sent = parse_qs(urlsplit(url).query, keep_blank_values=True)
    known = {each.name: each.definition["schema"] for each in operation.query}
    return sent.keys() <= known.keys() and all(_fits(words, known[name]) for name, words in sent.items())


def _fits(words: list[str], schema: dict[str, Any]) -> bool:
    read: list[Any] = [words, *words[:1]] if len(words) == 1 else [words]
    if words in (["true"], ["false"]):
        read.append(words == ["true"])
    with contextlib.suppress(ValueError):
        read.append(float(words[0]))
    return any(jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(each) for each in read)


@pytest.mark.parametrize(("word", "kind"), [("true", "boolean"), ("1.5", "number"), ("x", "string"), ("x", "array")])
def test_a_word_may_be_meant_as_anything(word: str, kind: str) -> None:
    """A list of one is sent as the one; what it is, the query does not say."""
    assert _fits([word], {"anyOf": [{"type": kind}, {"type": "null"}]})
    assert not _fits([word], {"type": "object"})


def _check(operation: Any, mode: GenerationMode, auth: Any, token: str) -> Counter[int]:
    """Put generated requests to one operation, valid by the document or not: how often each status came."""
    statuses = Counter[int]()

    # schemathesis' own parametrisation does not know pytest 9.
    @settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(mode, auth_storage=auth))
    def answers(case: Case) -> None:
        if mode is GenerationMode.POSITIVE:
            _aim(case, statuses.total())
        answer = case.call()
        beyond = answer.status_code == 422 and answer.json()["field"] in BEYOND_SCHEMA
        excluded: list[Any] = [positive_data_acceptance] if beyond else []
        too_large = answer.status_code == 413
        if mode is GenerationMode.NEGATIVE and (too_large or _is_valid_as_sent(operation, answer.request.url or "")):
            excluded.append(negative_data_rejection)
        case.validate_response(answer, excluded_checks=excluded)
        statuses[answer.status_code] += 1
        if answer.status_code == 401:
            # Once more with a token: what else is wrong with it must be found too.
            case.headers["authorization"] = f"Bearer {token}"
            signed = case.call()
            case.validate_response(signed, excluded_checks=[ignored_auth, negative_data_rejection])
            statuses[signed.status_code] += 1

    answers()
    return statuses


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_as_documented(
    access: tuple[FastAPI, str], mode: GenerationMode, subtests: pytest.Subtests
) -> None:
    """Statuses, media types, headers and shapes of answers to requests, good and bad; and never a 5xx."""
    app, token = access
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)

    @schema.auth()
    class Bearer:
        """Signs requests, but for those that try without."""

        def get(self, case: Case, context: Any) -> str:
            return token

        def set(self, case: Case, data: str, context: Any) -> None:
            case.headers["authorization"] = f"Bearer {data}"

    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        with subtests.test(operation.label):
            statuses = _check(operation, mode, schema.auth, token)
            # Refused for what it asks, or served: not only for want of a token, or of such a thing.
            served = min(statuses) < 300
            assert served if mode is GenerationMode.POSITIVE else served or statuses.keys() & {400, 404, 422}, statuses
