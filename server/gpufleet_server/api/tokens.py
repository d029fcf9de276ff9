"""Tokens: for administrators."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from fastapi import Query as FromQuery
from pydantic import ConfigDict, Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant
from gpufleet_server.api.context import Given
from gpufleet_server.api.parameters import Nothing, Text
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.queries.reading import reading, writing
from gpufleet_server.store import tokens

router = APIRouter()
_TEN_YEARS_S = 10 * 366 * 86_400


class TokenItem(Answer):
    """A token without its text."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    kind: TokenKind
    name: str
    node: str | None = Field(description="the node that a credential speaks for")
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Instant | None


class TokenList(Answer):
    """Every token."""

    items: list[TokenItem]


class NewToken(Answer):
    """What is asked for. Credentials of nodes are got by enrolment only."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["reader", "join", "admin"]
    name: Text = Field(description="what it is for")
    expires_in: int | None = Field(None, ge=1, le=_TEN_YEARS_S, description="s; never without it")


class MadeToken(Answer):
    """A new token. Its text is shown this once."""

    id: int
    kind: TokenKind
    name: str
    created_at: Instant
    expires_at: Instant | None
    token: str


@router.get("/tokens", responses=errors.documented())
def tokens_listing(context: Given, query: Annotated[Nothing, FromQuery()]) -> TokenList:
    """Every token ever made, without its text."""
    with reading(context.store) as connection:
        found = tokens.listing(connection)
    return TokenList(items=[TokenItem.model_validate(token) for token in found])


@router.post("/tokens", status_code=201, responses=errors.documented(400, 408, 413))
def create_token(context: Given, wanted: NewToken, query: Annotated[Nothing, FromQuery()]) -> MadeToken:
    """Make a reader, join or admin token."""
    now, kind = context.now(), TokenKind(wanted.kind)
    expires_at = None if wanted.expires_in is None else now + wanted.expires_in * SECOND
    with writing(context.store) as connection:
        token_id, text = tokens.create(connection, kind, wanted.name, expires_at, now=now)
    return MadeToken(id=token_id, kind=kind, name=wanted.name, created_at=now, expires_at=expires_at, token=text)


@router.delete("/tokens/{id}", status_code=204, responses=errors.documented(404))
def revoke_token(
    context: Given,
    token_id: Annotated[int, Path(alias="id", ge=1, lt=1 << 63, description="Its number, as the listing tells it.")],
    query: Annotated[Nothing, FromQuery()],
) -> None:
    """Revoke a token: at once on this server, within two seconds on others of the same database."""
    with writing(context.store) as connection:
        done = tokens.revoke(connection, token_id, now=context.now())
    context.tokens.look_again()
    if not done:
        raise Problem(404, f"there is no token {token_id} that is not revoked already", "id")
