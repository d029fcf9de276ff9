"""The agent's settings, each declared once: file, environment and flags derive from this list."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DEFAULT_FILE = Path("/etc/gpufleet/agent.toml")
ENVIRONMENT = "GPUFLEET_AGENT_"


class ConfigError(Exception):
    """A setting that cannot be; the text names where it stands, the key and the value."""


@dataclass(frozen=True)
class Config:
    """All settings. `interval` and `spool_age` in seconds, `spool_size` in bytes."""

    server: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    interval: float = 10.0
    state_dir: Path = Path("/var/lib/gpufleet-agent")
    name: str | None = None
    site: str | None = None
    room: str | None = None
    rack: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    metrics_listen: tuple[str, int] | None = None
    metrics_allow_remote: bool = False
    spool_size: int = 256 << 20
    spool_age: float = 7 * 86400.0
    ca_file: Path | None = None
    log_level: str = "info"

    def join_token(self) -> str | None:
        """The join token, from its file if one is named. ConfigError where that cannot be read."""
        if self.token_file is None:
            return self.token
        try:
            token = self.token_file.read_text(errors="replace").strip()
        except OSError as error:
            raise ConfigError(f"token_file: {self.token_file}: {error.strerror}") from None
        if not is_bearer(token):
            raise ConfigError(f"token_file: {self.token_file}: expected one token in plain characters")
        return token


def is_bearer(text: str) -> bool:
    """Whether a header can carry this as a token or a credential."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True)
class Setting:
    """One setting: its key in the file (the flag and the variable follow from it), how a value is read, its help."""

    key: str
    read: Callable[[Any], Any]
    help: str
    metavar: str = "TEXT"

    @property
    def flag(self) -> str:
        """The command line's name for it."""
        return "--label" if self.key == "labels" else "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment's name for it."""
        return ENVIRONMENT + self.key.upper()


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected a text that is not empty")
    if len(value) > 256:
        raise ValueError("expected at most 256 characters")
    if _CONTROLS.search(value.strip()):
        raise ValueError("expected no control characters")
    return value.strip()


def _token(value: object) -> str:
    token = _text(value)
    if not is_bearer(token):
        raise ValueError("expected a token in plain characters")
    return token


def _path(value: object) -> Path:
    try:
        return Path(_text(value)).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder of this user is not known: {error}") from None


def _flag(value: object) -> bool:
    words = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    known = value if isinstance(value, bool) else words.get(str(value).lower())
    if known is None:
        raise ValueError("expected true or false")
    return known


def _measure(value: object, units: Mapping[str, float], plain: str, example: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", str(value))
    unit = (match[2].lower() or plain) if match else ""
    if isinstance(value, bool) or not match or unit not in units:
        raise ValueError(f"expected a number with a unit, such as {example}")
    return float(match[1]) * units[unit]


def _interval(value: object) -> float:
    seconds = _measure(value, _SECONDS, "s", "10s")
    if not 1 <= seconds <= 300:
        raise ValueError("expected 1s to 300s")
    return seconds


def _age(value: object) -> float:
    seconds = _measure(value, _SECONDS, "s", "7d")
    if seconds < 60:
        raise ValueError("expected at least 60s")
    return seconds


def _size(value: object) -> int:
    size = int(_measure(value, _BYTES, "b", "256MiB"))
    if size < 1 << 20:
        raise ValueError("expected at least 1MiB")
    return size


def _server(value: object) -> str:
    text = _text(value).rstrip("/")
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or re.search(r"\s", text):
        raise ValueError("expected a URL such as https://gpufleet.example:8765")
    if url.username or url.password:
        raise ValueError("expected a URL without user and password; the agent has its token")
    _ = url.port  # raises ValueError where it is none
    return text


def _address(value: object) -> tuple[str, int]:
    host, mark, port = _text(value).rpartition(":")
    if not mark or not port.isascii() or not port.isdigit() or not 0 <= int(port) < 1 << 16:
        raise ValueError("expected address:port, such as 127.0.0.1:9835")
    return host.strip("[]") or "127.0.0.1", int(port)


def _labels(value: object) -> dict[str, str]:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, list):
        pairs = [str(part).partition("=") for part in value]
        if not all(mark and key.strip() for key, mark, _ in pairs):
            raise ValueError("expected labels as key=value")
        value = {key.strip(): text.strip() for key, _, text in pairs}
    if not isinstance(value, dict):
        raise ValueError("expected a table of labels")
    if not all(isinstance(text, (str, int, float)) for text in value.values()):
        raise ValueError("expected labels with one text each")
    labels = {str(key): str(text).lower() if isinstance(text, bool) else str(text) for key, text in value.items()}
    if len(labels) > 64 or any(not key or len(key) > 128 or len(text) > 256 for key, text in labels.items()):
        raise ValueError("expected at most 64 labels, keys up to 128 and values up to 256 characters")
    if any(_CONTROLS.search(text) for pair in labels.items() for text in pair):
        raise ValueError("expected labels without control characters")
    return labels


def _level(value: object) -> str:
    level = _text(value).lower()
    if level not in ("debug", "info", "warning", "error"):
        raise ValueError("expected debug, info, warning or error")
    return level


SETTINGS: tuple[Setting, ...] = (
    Setting("server", _server, "Base URL of the gpufleet server. Without it nothing is pushed.", "URL"),
    Setting(
        "token", _token, "Join token; better given by file or environment, flags are seen by other users.", "TOKEN"
    ),
    Setting("token_file", _path, "File that holds the join token.", "FILE"),
    Setting("interval", _interval, "Time between samples, 1s to 300s; a plain number is seconds.", "TIME"),
    Setting("state_dir", _path, "Folder for node id, credential and spool.", "FOLDER"),
    Setting("name", _text, "Name to show for this node instead of its hostname."),
    Setting("site", _text, "Site this node stands at."),
    Setting("room", _text, "Room this node stands in."),
    Setting("rack", _text, "Rack this node stands in."),
    Setting("labels", _labels, "Free label; may be given several times.", "KEY=VALUE"),
    Setting("metrics_listen", _address, "Serve Prometheus text here; 9835 is a good port.", "ADDRESS:PORT"),
    Setting("metrics_allow_remote", _flag, "Let --metrics-listen be an address that other hosts can reach."),
    Setting("spool_size", _size, "Most the reports that wait may take on disk; oldest go first.", "SIZE"),
    Setting("spool_age", _age, "Reports that wait longer than this are dropped.", "TIME"),
    Setting("ca_file", _path, "Certificates to trust for an https server instead of the system's.", "FILE"),
    Setting("log_level", _level, "debug, info, warning or error.", "LEVEL"),
)
_BY_KEY = {setting.key: setting for setting in SETTINGS}


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None, root_user: bool | None = None
) -> Config:
    """Defaults < file < environment < flags. ConfigError names what is wrong and where it stands."""
    values: dict[str, Any] = {"state_dir": default_state_dir(environment, root_user)}
    chosen = file or (Path(environment[ENVIRONMENT + "CONFIG"]) if ENVIRONMENT + "CONFIG" in environment else None)
    values.update(_from_file(chosen or DEFAULT_FILE, required=chosen is not None))
    values.update(_from_environment(environment))
    for key, value in flags.items():
        values[key] = _read(_BY_KEY[key], value, _BY_KEY[key].flag)
    config = Config(**values)
    _check_listen(config)
    if config.ca_file is not None:
        try:
            config.ca_file.open("rb").close()
        except OSError as error:
            raise ConfigError(f"ca_file = {config.ca_file}: {error.strerror}") from None
    return config


def default_state_dir(environment: Mapping[str, str], root_user: bool | None = None) -> Path:
    """`/var/lib/gpufleet-agent` for root, else below the XDG state folder."""
    if os.geteuid() == 0 if root_user is None else root_user:
        return Path("/var/lib/gpufleet-agent")
    base = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME", "~"), ".local/state")
    return Path(base).expanduser() / "gpufleet-agent"


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT) or name == ENVIRONMENT + "CONFIG":
            continue
        setting = _BY_KEY.get(name.removeprefix(ENVIRONMENT).lower())
        if setting is None:
            raise ConfigError(f"environment: {name} is not a setting; {_nearest(name, [s.variable for s in SETTINGS])}")
        values[setting.key] = _read(setting, value, f"environment: {name}")
    return values


def _from_file(path: Path, required: bool) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path}: there is no such file") from None
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    values = {}
    for key, value in _parse_toml(path, data).items():
        setting = _BY_KEY.get(key)
        if setting is None:
            raise ConfigError(f"{path}: {key!r} is not a setting; {_nearest(key, list(_BY_KEY))}")
        values[key] = _read(setting, value, f"{path}: {key}")
    return values


def _parse_toml(path: Path, data: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        import tomli as toml  # type: ignore[import-not-found, unused-ignore]
    try:
        parsed: dict[str, Any] = toml.loads(data.decode())
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    return parsed


def _read(setting: Setting, value: object, where: str) -> Any:
    try:
        return setting.read(value)
    except ValueError as error:
        shown = "(not shown)" if setting.key == "token" else repr(value)
        raise ConfigError(f"{where} = {shown}: {error}") from None


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def _check_listen(config: Config) -> None:
    import ipaddress

    if config.metrics_listen is None or config.metrics_allow_remote:
        return
    host = config.metrics_listen[0]
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise ConfigError(
            f"metrics_listen = {host}: other hosts can reach this address; add --metrics-allow-remote if that is meant"
        )
