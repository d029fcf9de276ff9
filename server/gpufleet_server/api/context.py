"""What handlers are given, and who may call them."""

import dataclasses
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.queries.reading import answering
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tokens import TokenCache, TokenRow


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """The store, its tokens and the clock (µs since the epoch)."""

    store: Store
    tokens: TokenCache
    now: Callable[[], int]


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]

_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="A reader or admin token of gpufleet.")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def check(tokens: TokenCache, text: str | None, allowed: frozenset[TokenKind]) -> TokenRow:
    """The token of a request. Problem 401 where there is no good one, 403 where it is of another kind."""
    with answering():
        token = tokens.check(text) if text else None
    if token is None:
        what = "this token is unknown, expired or revoked" if text else "a token is needed: Authorization: Bearer gpf_…"
        raise Problem(401, what, "header.authorization", headers={"www-authenticate": "Bearer"})
    if token.kind not in allowed:
        kinds = " or ".join(sorted(allowed))
        raise Problem(403, f"a token of kind {token.kind} may not do this: use one of kind {kinds}")
    return token


READERS = frozenset({TokenKind.READER, TokenKind.ADMIN})
_ADMINS = frozenset({TokenKind.ADMIN})


def reader(context: Given, credentials: _Credentials) -> None:
    """Lets reader and admin tokens through."""
    check(context.tokens, credentials.credentials if credentials else None, READERS)


def admin(context: Given, credentials: _Credentials) -> None:
    """Lets admin tokens through."""
    check(context.tokens, credentials.credentials if credentials else None, _ADMINS)
