"""Who may ask."""

from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.queries.reading import answering
from gpufleet_server.store.tokens import TokenCache, TokenRow

READERS = frozenset({TokenKind.READER, TokenKind.ADMIN})
ADMINS = frozenset({TokenKind.ADMIN})


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
