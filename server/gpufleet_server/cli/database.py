"""Opens the database that a command works on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_server.store.engine import Store

Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="GPUFLEET_DATABASE",
        help="The server's database: a URL such as sqlite:////var/lib/gpufleet/fleet.db, or a file.",
    ),
]


@contextmanager
def opened(database: str | None, *, make: bool = False, upgrade: bool = False) -> "Iterator[Store]":
    """The store at a URL or in a file. CliError where it can't be opened, or does not do what it is asked to.

    It must be there, unless it is to be made; and have this version's schema, unless it is to be brought there (which
    makes it too): for there is no way back, and a server of an older version may be at work on it.
    """
    from gpufleet_server.cli.settings import default_database
    from gpufleet_server.store import migrate
    from gpufleet_server.store.engine import Store, StoreError
    from gpufleet_server.store.errors import told_plainly

    url = _url(database or default_database(), make=make or upgrade)
    try:
        store = Store.open(url)
        try:
            (migrate.migrate if upgrade else migrate.begin if make else migrate.check)(store)
            with told_plainly(store.name):
                yield store
        finally:
            store.close()
    except StoreError as error:
        raise CliError(str(error)) from error


def _url(database: str, *, make: bool) -> str:
    """The URL of a database that may be named by its file, which is there unless it is to be made."""
    # Also `postgresql:/host`, which is neither, and no name for a file.
    url = database if re.match("[a-z0-9+]+:", database) else f"sqlite:///{Path(database).absolute()}"
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not make and not file.exists():
        raise CliError(f"there is no database {file}; give the server's with --database")
    return url
