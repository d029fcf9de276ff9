"""The agent's settings as they were given: file, environment and flags, in rising precedence."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpufleet_agent.settings import ENVIRONMENT, SETTINGS, Setting, is_bearer

DEFAULT_FILE = Path("/etc/gpufleet/agent.toml")


class ConfigError(Exception):
    """Settings that cannot be; each problem names where it stands, the key and the value."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


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
    dcgm_names: bool = False
    spool_size: int = 256 << 20
    spool_age: float = 7 * 86400.0
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    log_level: str = "info"
    log_format: str = "auto"
    usage: bool = True
    user_names: bool = True
    command_lines: bool = False
    kernel_log: bool = True

    def join_token(self) -> str | None:
        """The join token, from its file if one is named; an empty file holds none. ConfigError as it can't be read."""
        if self.token_file is None:
            return self.token
        try:
            token = self.token_file.read_text(errors="replace").strip()
        except OSError as error:
            raise ConfigError(f"token_file: {self.token_file}: {error.strerror}") from None
        if token and not is_bearer(token):
            raise ConfigError(f"token_file: {self.token_file}: expected one token in plain characters")
        return token or None


@dataclass(frozen=True)
class Given:
    """A value and where it comes from: "default", a file, a variable or a flag."""

    value: Any
    origin: str = "default"


@dataclass
class Gathered:
    """What all sources say together, of each setting the one that wins, and what is wrong with them.

    Each of `problems` is the key that it is about, empty where it is a whole file, and what is told of it.
    """

    file: Path
    has_file: bool = False
    given: dict[str, Given] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def config(self) -> Config:
        """The settings. ConfigError with all that is wrong."""
        config = Config(**{key: given.value for key, given in self.given.items()})
        problems = [*(text for _, text in self.problems), *_contradictions(config)]
        if problems:
            raise ConfigError(*problems)
        return config

    def state_dir(self) -> Path:
        """The state folder, whatever is wrong with other settings. ConfigError where it is not known."""
        given = self.given["state_dir"]
        in_question = ("state_dir", "") if given.origin == "default" else ("state_dir",)
        problems = [text for key, text in self.problems if key in in_question]
        if problems:
            raise ConfigError(*problems)
        folder: Path = given.value
        return folder

    def take(self, setting: Setting, value: object, origin: str, where: str) -> None:
        """Note what a source says, or that it cannot be."""
        try:
            self.given[setting.key] = Given(setting.read(value), origin)
        except ValueError as error:
            shown = "(not shown)" if setting.secret else repr(value)
            self.problems.append((setting.key, f"{where} = {shown}: {error}"))


_BY_KEY = {setting.key: setting for setting in SETTINGS}


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None, root_user: bool | None = None
) -> Config:
    """Defaults < file < environment < flags. ConfigError names all that is wrong and where it stands."""
    return gather(flags, environment, file, root_user).config()


def gather(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None, root_user: bool | None = None
) -> Gathered:
    """Read every source. Nothing is raised: what is wrong is noted."""
    named = file or (Path(environment[ENVIRONMENT + "CONFIG"]) if ENVIRONMENT + "CONFIG" in environment else None)
    gathered = Gathered(named or DEFAULT_FILE)
    gathered.given["state_dir"] = Given(default_state_dir(environment, root_user))
    _take_file(gathered, required=named is not None)
    _take_environment(gathered, environment)
    for key, value in flags.items():
        gathered.take(_BY_KEY[key], value, _BY_KEY[key].flag, _BY_KEY[key].flag)
    return gathered


def default_state_dir(environment: Mapping[str, str], root_user: bool | None = None) -> Path:
    """What systemd gives by StateDirectory=, else `/var/lib/gpufleet-agent` for root, else below XDG's state folder."""
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0 if root_user is None else root_user:
        return Path("/var/lib/gpufleet-agent")
    base = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME", "~"), ".local/state")
    return Path(base).expanduser() / "gpufleet-agent"


def _take_environment(gathered: Gathered, environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT) or name == ENVIRONMENT + "CONFIG":
            continue
        setting = _BY_KEY.get(name.removeprefix(ENVIRONMENT).lower())
        if setting is None:
            near = _nearest(name, [known.variable for known in SETTINGS])
            gathered.problems.append((name, f"environment: {name} is not a setting; {near}"))
        else:
            gathered.take(setting, value, f"environment: {name}", f"environment: {name}")


def _take_file(gathered: Gathered, required: bool) -> None:
    path = gathered.file
    try:
        parsed = _parse_toml(path.read_bytes())
    except FileNotFoundError:
        if required:
            gathered.problems.append(("", f"{path}: there is no such file"))
        return
    except OSError as error:
        gathered.problems.append(("", f"{path}: {error.strerror}"))
        return
    except ValueError as error:
        gathered.problems.append(("", f"{path}: {error}"))
        return
    gathered.has_file = True
    for key, value in parsed.items():
        setting = _BY_KEY.get(key)
        if setting is None:
            gathered.problems.append((key, f"{path}: {key!r} is not a setting; {_nearest(key, list(_BY_KEY))}"))
        else:
            gathered.take(setting, value, str(path), f"{path}: {key}")


def _parse_toml(data: bytes) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        import tomli as toml  # type: ignore[import-not-found, unused-ignore]
    parsed: dict[str, Any] = toml.loads(data.decode())
    return parsed


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


def _contradictions(config: Config) -> Iterator[str]:
    """What is wrong with values that are right one by one, and files that cannot be used."""
    host = config.metrics_listen[0] if config.metrics_listen else "localhost"
    if not (config.metrics_allow_remote or _is_loopback(host)):
        hint = "add --metrics-allow-remote if that is meant"
        yield f"metrics_listen = {host}: other hosts can reach this address; {hint}"
    if config.dcgm_names and config.metrics_listen is None:
        yield "dcgm_names = True: there is no --metrics-listen to serve them at"
    if config.client_key is not None and config.client_cert is None:
        yield f"client_key = {config.client_key}: there is no client_cert that it belongs to"
    for key in ("ca_file", "client_cert", "client_key"):
        path: Path | None = getattr(config, key)
        try:
            if path is not None:
                path.open("rb").close()
        except OSError as error:
            yield f"{key} = {path}: {error.strerror}"


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
