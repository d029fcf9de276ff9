"""`gpufleet token`: who may report, read and administer."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.database import Database, opened
from gpufleet_server.cli.errors import CliError, Commands

if TYPE_CHECKING:
    from gpufleet_server.store.tokens import TokenRow

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Make, list and revoke tokens, on the database.")


class Kind(StrEnum):
    """What a token is good for. Credentials of nodes are made when an agent joins."""

    JOIN = "join"
    READER = "reader"
    ADMIN = "admin"


@app.command()
def create(
    kind: Annotated[
        Kind, typer.Option(help="join: lets agents enrol; reader: reads the API and /metrics; admin: also tokens.")
    ],
    name: Annotated[str, typer.Option(help="What it is for, to tell tokens apart later.")],
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="Good for this long only, such as 30d.")] = None,
    database: Database = None,
    json: options.Json = False,
) -> None:
    """Make a token and print it. It is shown this once: only its hash is kept."""
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.times import iso_or_none, length
    from gpufleet_server.domain import clock
    from gpufleet_server.domain.tokens import TokenKind
    from gpufleet_server.store import tokens

    until = clock.now() + length(expires, "--expires") if expires else None
    with opened(database, make=True) as store, store.writing() as connection:
        number, text = tokens.create(connection, TokenKind(kind.value), name, expires_at=until)
    if json:
        about = {"id": number, "kind": kind.value, "name": name, "token": text, "expires_at": iso_or_none(until)}
        show_json(about)
        return
    typer.echo(text)
    typer.echo(f"token {number}; it can't be shown again, `gpufleet token revoke {number}` ends it", err=True)


@app.command("list")
def list_(database: Database = None, json: options.Json = False) -> None:
    """List all tokens that were ever made; never the tokens themselves."""
    from gpufleet_server.cli.plain import clean, show_json
    from gpufleet_server.cli.render import console, show, table
    from gpufleet_server.store import tokens

    with opened(database) as store, store.reading() as connection:
        rows = [_told(row) for row in tokens.listing(connection)]
    if json:
        show_json({"items": rows})
    elif rows:
        out = console()
        show(table(clean(rows), _columns(), out.width), out)
    else:
        typer.echo("no tokens", err=True)


@app.command()
def revoke(
    id: Annotated[int, typer.Argument(metavar="ID", help="Its number in `gpufleet token list`.")],
    database: Database = None,
) -> None:
    """Revoke a token. A running server heeds it within two seconds."""
    from gpufleet_server.store import tokens

    with opened(database) as store, store.writing() as connection:
        done = tokens.revoke(connection, id)
    if not done:
        raise CliError(f"there is no token {id} that is not revoked already; `gpufleet token list` shows them")
    typer.echo(f"token {id} is revoked", err=True)


def _told(row: "TokenRow") -> dict[str, Any]:
    from gpufleet_server.cli.times import iso_or_none

    return {
        "id": row.id,
        "kind": row.kind.value,
        "name": row.name,
        "node": row.node,
        "created_at": iso_or_none(row.created_at),
        "expires_at": iso_or_none(row.expires_at),
        "revoked_at": iso_or_none(row.revoked_at),
        "last_used_at": iso_or_none(row.last_used_at),
    }


def _columns() -> list[Any]:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    return [
        Column("ID", lambda token: str(token["id"]), 0, "right"),
        Column("KIND", lambda token: token["kind"]),
        Column("NAME", lambda token: token["name"]),
        Column("STANDING", _standing),
        Column("LAST USED", lambda token: units.age(token["last_used_at"]), 1, "right"),
        Column("CREATED", lambda token: units.age(token["created_at"]), 2, "right"),
        Column("NODE", lambda token: units.text(token["node"]), 3),
    ]


def _standing(token: dict[str, Any]) -> str:
    from datetime import UTC, datetime

    from gpufleet_server.cli import units

    if token["revoked_at"]:
        return "revoked"
    expires = units.when(token["expires_at"])
    if expires is None:
        return "good"
    left = (expires - datetime.now(UTC)).total_seconds()
    return f"good for {units.duration(left)}" if left > 0 else "expired"
