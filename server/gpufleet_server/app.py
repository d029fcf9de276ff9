"""The only place where the server's parts are put together."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable

from gpufleet_agent import wire
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from gpufleet_server import __version__, api, exposition
from gpufleet_server.alerts.facts import OwnFacts
from gpufleet_server.alerts.service import Alerting, Settings
from gpufleet_server.api.errors import response
from gpufleet_server.domain import clock
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.endpoint import Direct, Enrolments, Renewals, Reports
from gpufleet_server.ingest.request import Desk
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.waiting import Bounds
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.own_minutes import OwnMinutes
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrated
from gpufleet_server.store.retention import Keep
from gpufleet_server.store.tokens import TokenCache
from gpufleet_server.store.upkeep import Upkeep

_LOG = logging.getLogger(__name__)


def create_app(
    store: Store,
    *,
    now: Callable[[], int] = clock.now,
    public_metrics: bool = False,
    keep: Keep | None = None,
    renew_after: int = 0,
    max_waiting: int = Bounds.reports,
    max_waiting_bytes: int = Bounds.bytes,
    alerts: Settings | None = None,
) -> Starlette:
    """The server on a migrated store, which stays the caller's to close.

    `now` tells the time in µs. /metrics needs a reader's token unless `public_metrics`. What is older than
    `keep` says is removed. Agents whose credential is older than `renew_after` µs, where that is not 0, are asked to
    renew it. Beyond `max_waiting` reports, or `max_waiting_bytes` of them, that wait to be written,
    agents are asked to come again later. Alerts are evaluated, and told, where `alerts` says how.
    """
    statistics, tokens = Statistics(), TokenCache(store, now)
    bounds = Bounds(reports=max_waiting, bytes=max_waiting_bytes)
    upkeep = Upkeep(store, keep, now)
    facts = OwnFacts(store, statistics, upkeep.statistics, now)
    alerting = Alerting(store, alerts, now, facts) if alerts is not None else None
    happened = alerting.happened if alerting is not None else lambda _: None
    writer = Writer(store, tokens, statistics, now=now, bounds=bounds, happened=happened)

    desk = Desk(tokens)
    reports = Reports(desk, writer, statistics, now, renew_after)
    metrics = exposition.endpoint(
        store, tokens, statistics, now=now, public=public_metrics, upkeep=upkeep.statistics, alerting=alerting
    )
    routes = [
        Route("/", _about),
        Route("/healthz", _alive),
        Route("/readyz", _ready(store, writer, alerting)),
        Route(wire.REPORT_PATH, reports, methods=["POST"]),
        Route(wire.ENROL_PATH, Enrolments(store, desk, statistics, now), methods=["POST"]),
        Route(wire.RENEW_PATH, Renewals(store, desk, statistics, now), methods=["POST"]),
        Route("/metrics", metrics),
        Mount("/api/v1", api.build(store, tokens, now=now, alerts=alerts)),
    ]
    handlers = {Problem: _problem, HTTPException: _http_problem, Exception: _failure}
    direct = Middleware(Direct, reports=reports)
    minutes = OwnMinutes(store, statistics, upkeep.statistics, now)
    lifespan = functools.partial(_running, writer, upkeep, minutes, alerting)
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers, middleware=[direct])
    app.router.redirect_slashes = False
    app.state.statistics, app.state.upkeep, app.state.reports = statistics, upkeep, reports
    app.state.alerting = alerting
    return app


@contextlib.asynccontextmanager
async def _running(
    writer: Writer, upkeep: Upkeep, minutes: OwnMinutes, alerting: Alerting | None, _app: Starlette
) -> AsyncIterator[None]:
    """What works beside the answers, from before the first to after the last."""
    await asyncio.to_thread(upkeep.prepare)
    writer.start()
    upkeep.start()
    minutes.start()
    if alerting is not None:
        alerting.start()
    try:
        yield
    finally:
        if alerting is not None:
            await asyncio.to_thread(alerting.stop)
        await asyncio.to_thread(upkeep.stop)
        await asyncio.to_thread(writer.stop)
        await asyncio.to_thread(minutes.stop)


async def _about(_request: Request) -> Response:
    return JSONResponse(
        {
            "name": "gpufleet",
            "version": __version__,
            "what": "The GPUs of a fleet: inventory, health and use.",
            "api": "/api/v1",
            "openapi": "/api/v1/openapi.json",
            "metrics": "/metrics",
            "health": ["/healthz", "/readyz"],
        }
    )


async def _alive(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


def _ready(store: Store, writer: Writer, alerting: Alerting | None) -> Callable[[Request], Response]:
    # Not async: Starlette runs it in a thread, where waiting for the store holds nothing up.
    def ready(_request: Request) -> Response:
        if (trouble := writer.trouble) is not None:
            raise Problem(503, trouble, retry_after=5)
        if alerting is not None and (trouble := alerting.trouble) is not None:
            raise Problem(503, trouble, retry_after=5)
        try:
            with store.reading() as connection:
                current = migrated(connection)
        except SQLAlchemyError as error:
            _LOG.warning("the store does not answer: %s", error)
            raise Problem(503, "the store does not answer", retry_after=5) from None
        if not current:
            raise Problem(503, "the store is not migrated to this version's schema")
        return JSONResponse({"status": "ready"})

    return ready


async def _problem(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        raise error
    return response(error)


async def _http_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    details = {404: f"there is nothing at {request.url.path[:200]}", 405: f"{request.method} is not possible here"}
    detail = details.get(error.status_code, error.detail)
    return await _problem(request, Problem(error.status_code, detail, headers=dict(error.headers or {})))


async def _failure(request: Request, _error: Exception) -> Response:
    # The cause goes to the log of the ASGI server, which is given the exception after this answer.
    return await _problem(request, Problem(500, "the server failed; its log says why"))
