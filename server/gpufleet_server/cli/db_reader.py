"""`gpufleet db grant-reader`: a role of PostgreSQL with which Grafana reads."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufleet_server.cli.database import Database, opened
from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_server.store.engine import Store
    from gpufleet_server.store.reader import Reader

_VARIABLE = "GPUFLEET_READER_PASSWORD"


def grant_reader(
    role: Annotated[str, typer.Argument(help="The role's name, such as grafana.", metavar="ROLE")],
    database: Database = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Has the password; else ${_VARIABLE} has it, or you are asked.")
    ] = None,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="The role logs in by other means, such as a certificate.")
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="LENGTH", help="For how long a statement of its may run.")] = "30s",
    alert_rules: Annotated[
        bool,
        typer.Option(
            "--alert-rules",
            help="Let it also read the tables that `gpufleet alerts export grafana` asks: with that it can read all "
            "facts of nodes and GPUs, all events, and who holds GPUs, command lines included.",
        ),
    ] = False,
    show: Annotated[bool, typer.Option("--print", help="Do nothing; print the SQL, for an administrator.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take all of that back, and remove the role.")] = False,
) -> None:
    """Make a role that may read the views for Grafana (PostgreSQL's schema `grafana`) and nothing else.

    It may be run again, also for a role that is there, whose password stays unless another is given. The views tell
    of everything but tokens and command lines; what they are is in docs/grafana-views.md.
    """
    from gpufleet_server.store import reader as readers

    with opened(database) as store:
        reader = readers.Reader(role, _milliseconds(timeout), _tables() if alert_rules else ())
        if show:
            typer.echo(readers.script(store, reader, revoking=revoke), nl=False)
        elif revoke:
            gone = readers.revoke(store, reader)
            typer.echo(f"{role} {_GONE if gone else _STAYS}", err=True)
        else:
            _grant(store, reader, None if no_password else _password(store, role, password_file))


_GONE = "is removed"
_STAYS = "may no longer read this database; it stays, for it is of use elsewhere"


def _grant(store: "Store", reader: "Reader", password: str | None) -> None:
    from gpufleet_server.store.reader import grant

    granted = grant(store, reader, password)
    role = reader.role
    tables = f", and the tables {', '.join(reader.tables)}" if reader.tables else ""
    typer.echo(f"{role} {'is made and ' if granted.new else ''}may read {granted.views} views{tables}", err=True)
    if granted.temporary:
        typer.echo(
            f"{role} may make temporary tables too, as everybody in this database may; to end that: "
            "GRANT TEMPORARY ON DATABASE … TO the server's role, then REVOKE TEMPORARY ON DATABASE … FROM PUBLIC",
            err=True,
        )
    if granted.large_objects:
        functions = "lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea)"
        typer.echo(
            f"{role} may make large objects too, as everybody in PostgreSQL may; to end that, as an administrator: "
            f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC",
            err=True,
        )


def _milliseconds(timeout: str) -> int:
    from gpufleet_server.cli.times import length

    micros = length(timeout, "--timeout")
    if micros < 1_000_000:
        raise CliError("--timeout must be a second or more", 2)
    return micros // 1000


def _tables() -> tuple[str, ...]:
    from gpufleet_server.alerts.discovery import every_rule
    from gpufleet_server.alerts.export.grafana import tables
    from gpufleet_server.alerts.overrides import read

    return tuple(tables(read(None, every_rule())))


def _password(store: "Store", role: str, file: Path | None) -> str | None:
    """The password that is given; None: the role has one."""
    if file is not None:
        try:
            return _not_empty(file.read_text(encoding="utf-8").rstrip("\r\n"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"can't read the password from {file}: {error}") from error
    if (given := os.environ.get(_VARIABLE)) is not None:
        return _not_empty(given, f"${_VARIABLE}")
    from gpufleet_server.store.reader import there

    if there(store, role):
        return None
    if not sys.stdin.isatty():
        raise CliError(f"{role} is new and needs a password: --password-file FILE, ${_VARIABLE}, or --no-password", 2)
    return _not_empty(str(typer.prompt(f"Password for {role}", hide_input=True, confirmation_prompt=True)), "it")


def _not_empty(password: str, where: str) -> str:
    if not password or "\0" in password:
        raise CliError(f"{where} is no password: it is empty")
    return password
