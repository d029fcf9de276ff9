"""Where Grafana is and who asks: the URL from the command line, secrets from the environment alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gpufleet_dashboards.push.failure import PushError

TOKEN = "GRAFANA_TOKEN"  # noqa: S105 - the variable's name, not its value
USER, PASSWORD = "GRAFANA_USER", "GRAFANA_PASSWORD"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a Grafana. `path` begins and ends with a slash; `credential`: a token, or user and password."""

    scheme: str
    host: str
    port: int | None
    path: str
    credential: str | tuple[str, str] = field(repr=False)
    ca_file: Path | None = None
    timeout: float = 30.0

    @property
    def url(self) -> str:
        """As it is shown: without secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.port else ''}{self.path.rstrip('/')}"


def access(url: str, environment: Mapping[str, str], ca_file: Path | None = None, timeout: float = 30.0) -> Access:
    """From a URL and the environment. PushError: what is wrong with them."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise PushError(f"{url!r} is no URL: {error}") from error
    if parts.username or parts.password:
        raise PushError(f"a URL with a password shows in lists of processes: set {USER} and {PASSWORD}, or {TOKEN}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise PushError(f"{url!r} is no URL of a Grafana: give one like https://grafana.example or http://host:3000")
    if ca_file is not None and not ca_file.is_file():
        raise PushError(f"no file {ca_file}: --ca-file is the certificate that Grafana's is signed with, PEM")
    path = f"/{parts.path.strip('/')}/".replace("//", "/")
    return Access(parts.scheme, parts.hostname, port, path, _credential(environment), ca_file, timeout)


def secret(environment: Mapping[str, str], name: str) -> str:
    """A secret of the environment, "" where there is none. PushError where it can't be sent; it does not show it."""
    value = environment.get(name, "").strip()
    if not (value.isascii() and value.isprintable()):
        raise PushError(f"{name} has characters in it that no token or password of Grafana's has")
    return value


def _credential(environment: Mapping[str, str]) -> str | tuple[str, str]:
    if token := secret(environment, TOKEN):
        if " " in token:
            raise PushError(f"{TOKEN} has a space in it: it is the token alone, without `Bearer`")
        return token
    user, password = secret(environment, USER), environment.get(PASSWORD, "")
    if user and password:
        return user, password
    raise PushError(f"set {TOKEN} to a token of a Grafana service account (or {USER} and {PASSWORD})")
