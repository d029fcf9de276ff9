"""`gpufleet token`: who may report, read and administer."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError, Commands

if TYPE_CHECKING:
    from gpufleet_server.store.engine import Store
    from gpufleet_server.store.tokens import TokenRow

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Make, list and revoke tokens, on the database.")


class Kind(StrEnum):
    """What a token is good for. Credentials of nodes are made when an agent joins."""

    JOIN = "join"
    READER = "reader"
    ADMIN = "admin"


Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="GPUFLEET_DATABASE",
        help="The server's database: a URL such as sqlite:////var/lib/gpufleet/fleet.db, or a file.",
    ),
]


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
    from gpufleet_server.cli.times import length
    from gpufleet_server.domain import clock
    from gpufleet_server.domain.tokens import TokenKind
    from gpufleet_server.store import tokens

    until = clock.now() + length(expires, "--expires") if expires else None
    with opened(database, make=True) as store, store.writing() as connection:
        number, text = tokens.create(connection, TokenKind(kind.value), name, expires_at=until)
    if json:
        about = {"id": number, "kind": kind.value, "name": name, "token": text, "expires_at": _iso(until)}
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


@contextmanager
def opened(database: str | None, *, make: bool = False) -> "Iterator[Store]":
    """The store at a URL or in a file, migrated; it is made only where `make` says so. CliError where it can't be."""
    from gpufleet_server.cli.settings import default_database
    from gpufleet_server.store.engine import Store, StoreError
    from gpufleet_server.store.migrate import migrate

    url = database or default_database()
    if "://" not in url and not url.startswith("sqlite:"):
        url = f"sqlite:///{Path(url).absolute()}"
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not make and not file.exists():
        raise CliError(f"there is no database {file}; give the server's with --database")
    try:
        store = Store.open(url)
    except StoreError as error:
        raise CliError(str(error)) from error
    try:
        migrate(store)
        yield store
    except StoreError as error:
        raise CliError(str(error)) from error
    finally:
        store.close()


def _told(row: "TokenRow") -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind.value,
        "name": row.name,
        "node": row.node,
        "created_at": _iso(row.created_at),
        "expires_at": _iso(row.expires_at),
        "revoked_at": _iso(row.revoked_at),
        "last_used_at": _iso(row.last_used_at),
    }


def _iso(micros: int | None) -> str | None:
    from gpufleet_server.domain.times import iso

    return None if micros is None else iso(micros)


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
