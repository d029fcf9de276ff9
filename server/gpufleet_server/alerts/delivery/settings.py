"""The file of receivers: TOML with one schema. Secrets are not in it but in files or in the environment.

[alertmanager.main]
urls = ["https://alertmanager-1:9093", "https://alertmanager-2:9093"]
token_file = "/etc/gpufleet/alertmanager.token"

[apprise.on-call]
urls_file = "/etc/gpufleet/apprise.urls"
severity = "critical"

[webhook.tickets]
url = "https://tickets.example.org/hooks/gpufleet"
secret_env = "GPUFLEET_TICKETS_SECRET"
match = { site = ["ams1", "ams2"] }
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from gpufleet_server.alerts.delivery.errors import ReceiversError
from gpufleet_server.domain import times

SEVERITIES = ("info", "warning", "critical")
Severity = Literal["info", "warning", "critical"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Filter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which alerts a receiver is told: from a severity on, with these labels (one of several values each)."""

    severity: Severity = "info"
    match: dict[str, str | list[str]] = {}

    def takes(self, severity: str, labels: Mapping[str, str]) -> bool:
        """Whether it is told an alert."""
        grave = _rank(severity) >= _rank(self.severity)
        return grave and all(labels.get(name, "") in _listed(wanted) for name, wanted in self.match.items())


class Reach(Filter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an HTTP receiver is reached: a length of time, files in PEM, and who we are to it."""

    timeout: str = "10s"
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    username: str | None = None
    password_file: str | None = None
    password_env: str | None = None
    token_file: str | None = None
    token_env: str | None = None

    def __post_init__(self) -> None:
        _length("timeout", self.timeout, 1, 300)
        _one_of(password_file=self.password_file, password_env=self.password_env)
        _one_of(token_file=self.token_file, token_env=self.token_env)
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key needs client_cert")
        has_password = bool(self.password_file or self.password_env)
        if (self.username is not None) != has_password:
            raise ValueError("username and password_file (or password_env) go together")
        if has_password and (self.token_file or self.token_env):
            raise ValueError("either username and password, or a token")

    @property
    def timeout_s(self) -> float:
        """Seconds until an answer must have come."""
        return times.length(self.timeout) / 1e6

    def password(self) -> str | None:
        """The password, as it is now. ReceiversError where it can't be had."""
        return secret("password", self.password_file, self.password_env)

    def token(self) -> str | None:
        """The bearer token, as it is now. ReceiversError where it can't be had."""
        return secret("token", self.token_file, self.token_env)


class AlertmanagerSettings(Reach, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Alertmanagers of one cluster, each of which gets everything. `labels` are added to every alert."""

    urls: Annotated[list[str], Meta(min_length=1)]
    resend: str = "30s"
    batch: Annotated[int, Meta(ge=1, le=10_000)] = 500
    labels: dict[str, str] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        _length("resend", self.resend, 1, 600)
        for url in self.urls:
            _check_url("urls", url)
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("urls: one is there twice")
        for name in self.labels:
            if not _LABEL.fullmatch(name):
                raise ValueError(f"labels: {name!r} is no name of a label")

    @property
    def resend_s(self) -> float:
        """Seconds between two times that all is sent."""
        return times.length(self.resend) / 1e6


class AppriseSettings(Filter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Apprise can tell: its URLs, which hold secrets, a line each in a file or in a variable."""

    urls_file: str | None = None
    urls_env: str | None = None
    resolved: bool = True

    def __post_init__(self) -> None:
        _one_of(needed=True, urls_file=self.urls_file, urls_env=self.urls_env)

    def urls(self) -> list[str]:
        """The URLs, as they are now; lines that begin with # are comments. ReceiversError where there is none."""
        text = secret("urls", self.urls_file, self.urls_env) or ""
        lines = (line.strip() for line in text.splitlines())
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ReceiversError(f"{self.urls_file or self.urls_env} holds no URL")
        return list(dict.fromkeys(found))


class WebhookSettings(Reach, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One URL to which each change is posted, signed with a secret."""

    url: str
    secret_file: str | None = None
    secret_env: str | None = None
    resolved: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_url("url", self.url)
        _one_of(needed=True, secret_file=self.secret_file, secret_env=self.secret_env)

    def secrets(self) -> list[str]:
        """The secrets, as they are now, a line each: while one is replaced there are two. ReceiversError."""
        lines = (secret("secret", self.secret_file, self.secret_env) or "").splitlines()
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise ReceiversError(f"{self.secret_file or self.secret_env} holds no secret")
        return found


class Receivers(Struct, frozen=True, forbid_unknown_fields=True):
    """All receivers by kind and name; a name is there once."""

    alertmanager: dict[str, AlertmanagerSettings] = {}
    apprise: dict[str, AppriseSettings] = {}
    webhook: dict[str, WebhookSettings] = {}

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for name in [*self.alertmanager, *self.apprise, *self.webhook]:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: letters, digits, `_`, `.` and `-`, 40 at most")
            if name in seen:
                raise ValueError(f"{name!r} names two receivers")
            seen.add(name)

    def secrets_missing(self) -> Iterator[str]:
        """What can't be read now of the secrets that they name."""
        for name, one in (self.alertmanager | self.webhook).items():
            yield from _failing(name, one.password, one.token)
        for name, hook in self.webhook.items():
            yield from _failing(name, hook.secrets)
        for name, told in self.apprise.items():
            yield from _failing(name, told.urls)


def load(path: Path) -> Receivers:
    """The receivers in a file. ReceiversError says which entry is wrong."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReceiversError(f"can't read {path}: {error.strerror}") from error
    except (ReceiversError, UnicodeDecodeError) as error:
        raise ReceiversError(f"{path}: {error}") from error


def parse(text: str) -> Receivers:
    """The receivers in TOML. ReceiversError says which entry is wrong."""
    try:
        return msgspec.convert(tomllib.loads(text), Receivers)
    except tomllib.TOMLDecodeError as error:
        raise ReceiversError(f"is no TOML: {error}") from error
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$.")
        raise ReceiversError(f"{place.rstrip('`')}: {said}" if place else said) from error


def secret(what: str, file: str | None, variable: str | None) -> str | None:
    """A secret from a file or from a variable of the environment; None where neither is named. ReceiversError."""
    if file is not None:
        try:
            return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ReceiversError(f"can't read {what}_file {file}: {getattr(error, 'strerror', error)}") from error
    if variable is None:
        return None
    if not (found := os.environ.get(variable)):
        raise ReceiversError(f"{what}_env: the environment has no {variable}")
    return found


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _failing(name: str, *reads: object) -> Iterator[str]:
    for read in reads:
        try:
            read()  # type: ignore[operator]
        except ReceiversError as error:
            yield f"{name}: {error}"


def _rank(severity: str) -> int:
    # What this version does not know is told to everyone.
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _listed(wanted: str | list[str]) -> list[str]:
    return [wanted] if isinstance(wanted, str) else wanted


def _length(field: str, text: str, least: float, most: float) -> None:
    seconds = times.length(text) / 1e6
    if not least <= seconds <= most:
        raise ValueError(f"{field}: {text!r} is not {least:g}s to {most:g}s")


def _one_of(*, needed: bool = False, **given: str | None) -> None:
    count = sum(value is not None for value in given.values())
    if count > 1 or (needed and not count):
        raise ValueError(f"give {'one' if needed else 'at most one'} of {' and '.join(given)}")


def _check_url(field: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{field}: {shown(url)!r} is no URL such as https://alerts.example.org:9093")
    if parts.username or parts.password:
        raise ValueError(f"{field}: {shown(url)!r} holds a user: give username and password_file")
