"""Where things lie on this machine, and which server a command reads."""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from gpufleet_server.cli.errors import CliError

DEFAULT_LISTEN = "127.0.0.1:8478"


def data_folder() -> Path:
    """The XDG data folder of gpufleet."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def client_file() -> Path:
    """The file in which `gpufleet up` leaves URL and token for the commands that read."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "client.json"


def default_database() -> str:
    """The URL of the embedded store."""
    return database_in(data_folder())


def database_in(folder: Path) -> str:
    """The URL of the embedded store in a folder."""
    return f"sqlite:///{folder.absolute() / 'gpufleet.db'}"


def address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[IPv6]:PORT` or `:PORT` (every interface). CliError where it is none."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and host[0] != "["):
        raise CliError(f"--listen {text!r} is no HOST:PORT, such as {DEFAULT_LISTEN}", 2)
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104


@dataclass(frozen=True, slots=True)
class Access:
    """A server's URL and a token to read it with."""

    server: str
    token: str = field(repr=False)


def access(server: str | None, token: str | None) -> Access:
    """What flags and environment say, else what `gpufleet up` left. CliError where there is neither."""
    kept = _read(client_file())
    url = server or kept.get("server")
    if not url:
        raise CliError("which server? Start one with `gpufleet up`, or give --server URL (or set GPUFLEET_SERVER)")
    if not url.startswith(("http://", "https://")):
        raise CliError(f"--server {url!r} is no URL, such as http://{DEFAULT_LISTEN}", 2)
    # The token that was left is good for that server only: it is shown to no other.
    text = token or (kept.get("token") if _same(url, kept.get("server")) else None)
    if not text:
        raise CliError(f"{url} needs a reader token: give --token (or set GPUFLEET_TOKEN)")
    return Access(url.rstrip("/"), text)


def keep_access(it: Access) -> None:
    """Leave URL and token for the commands that read. OSError where that can't be written."""
    write_private(client_file(), json.dumps({"server": it.server, "token": it.token}) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a whole file at once, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes the file 0600 from the start.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _read(path: Path) -> dict[str, str]:
    try:
        kept = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CliError(f"can't read {path}: {error}") from error
    return {key: value for key, value in kept.items() if isinstance(value, str)} if isinstance(kept, dict) else {}


def _same(url: str, other: str | None) -> bool:
    return other is not None and url.rstrip("/") == other.rstrip("/")


def _xdg(variable: str, below_home: str) -> Path:
    base = os.environ.get(variable) or ""
    # The XDG specification says to take no notice of a relative path.
    return (Path(base) if base.startswith("/") else Path.home() / below_home) / "gpufleet"
