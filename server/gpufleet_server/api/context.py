"""What handlers are given, and who may call them."""

import dataclasses
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gpufleet_server.alerts.service import Settings
from gpufleet_server.queries.access import ADMINS, READERS, check
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tokens import TokenCache


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """The store, its tokens, the clock (µs since the epoch), and how alerts are evaluated here, if they are."""

    store: Store
    tokens: TokenCache
    now: Callable[[], int]
    alerts: Settings | None = None


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]

_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="A reader or admin token of gpufleet.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def reader(context: Given, credentials: _Credentials) -> None:
    """Lets reader and admin tokens through."""
    check(context.tokens, credentials.credentials if credentials else None, READERS)


def admin(context: Given, credentials: _Credentials) -> None:
    """Lets admin tokens through."""
    check(context.tokens, credentials.credentials if credentials else None, ADMINS)
