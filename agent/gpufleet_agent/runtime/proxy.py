"""The HTTP proxy that the server is reached through, as the settings or the usual variables say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from gpufleet_agent.config import ConfigError
from gpufleet_agent.settings import NO_PROXY, read_proxy

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """Where it listens, and the headers that it wants."""

    host: str
    port: int
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(server: str, setting: str | None, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for this server's URL; the setting comes before the environment. ConfigError where it is none."""
    if setting is not None:
        return None if setting == NO_PROXY else _proxy(setting)
    url = urlsplit(server)
    told = {name.lower(): (name, value) for name, value in sorted(environment.items()) if value}
    # Of two spellings the lower one, which sorts last, holds.
    name, value = told.get(f"{url.scheme}_proxy") or told.get("all_proxy") or ("", "")
    exempt = told.get("no_proxy", ("", ""))[1]
    if not value or _is_exempt(url.hostname or "", url.port or _DEFAULT_PORTS[url.scheme], exempt):
        return None
    try:
        return _proxy(read_proxy(value if "://" in value else f"http://{value}"))
    except ValueError as error:
        raise ConfigError(f"environment: {name} = (not shown): {error}") from None


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    headers = {}
    if parts.username is not None:
        import base64

        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
    return Proxy(parts.hostname or "", parts.port or 80, headers)


def _is_exempt(host: str, port: int, names: str) -> bool:
    """Whether NO_PROXY holds the server: by name, by a domain above it, by address or network; `*` is all."""
    for name in names.lower().replace(" ", ",").split(","):
        if name == "*" or (name and (_is_below(host, port, name) or _is_in(host, name))):
            return True
    return False


def _is_below(host: str, port: int, name: str) -> bool:
    domain, _, only = name.partition(":")
    domain = domain.removeprefix("*").removeprefix(".")
    return (host == domain or host.endswith(f".{domain}")) and only in ("", str(port))


def _is_in(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False
