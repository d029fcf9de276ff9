"""The API as one application, to be mounted at /api/v1."""

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

import gpufleet_server
from gpufleet_server.alerts.service import Settings
from gpufleet_server.api import (
    alert_rules,
    deliveries,
    errors,
    events,
    fleet,
    gpus,
    metrics,
    nodes,
    samples,
    summary,
    tokens,
    usage,
)
from gpufleet_server.api import alerts as alerts_api
from gpufleet_server.api.context import Context, admin, reader
from gpufleet_server.api.transport import Transport
from gpufleet_server.domain import clock
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tokens import TokenCache

_DESCRIPTION = """\
What GPUs there are, where, in what state, and what they do.

A value that the hardware or driver does not give is null, with the reason beside it; it is never 0. A node that is
silent is `not_reporting`, one whose agent was told to pause is `in_maintenance`, and nothing is said of their GPUs.
Times are ISO 8601 in UTC; parameters take ISO 8601 with an offset, or seconds since the epoch. Units stand beside the
values. Every error is application/problem+json.
"""
_READ = (alerts_api, alert_rules, summary, fleet, usage, nodes, gpus, samples, events, metrics, deliveries)


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the schema of problems."""
        document = super().openapi()
        document["components"]["schemas"]["Problem"] = errors.SCHEMA
        return document


def build(
    store: Store,
    tokens_known: TokenCache,
    *,
    now: Callable[[], int] = clock.now,
    alerts: Settings | None = None,
) -> FastAPI:
    """The REST API over a store. `now` gives the time, µs since the epoch; `alerts` how they are evaluated, if so."""
    app = _Application(
        title="gpufleet",
        version=gpufleet_server.__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation,
    )
    app.state.context = Context(store, tokens_known, now, alerts)
    for module in _READ:
        app.include_router(module.router, dependencies=[Depends(reader)])
    app.include_router(tokens.router, dependencies=[Depends(admin)])
    app.add_middleware(Transport)
    errors.install(app)
    return app


def _operation(route: APIRoute) -> str:
    return route.name
