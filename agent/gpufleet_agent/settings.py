"""What can be set, each declared once: how its text is read, shown and named in file, environment and flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ENVIRONMENT = "GPUFLEET_AGENT_"
NO_PROXY = "none"
LOG_FORMATS = ("auto", "text", "json", "journald")
_LOG_LEVELS = ("debug", "info", "warning", "error")


def is_bearer(text: str) -> bool:
    """Whether a header can carry this as a token or a credential."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True)
class Setting:
    """One setting: its key in the file (flag and variable follow from it), how a value is read and shown, its help."""

    key: str
    read: Callable[[Any], Any]
    help: str
    metavar: str = "TEXT"
    # How a value is shown: as a file could say it.
    show: Callable[[Any], object] = str
    # Told in no error.
    secret: bool = False
    # A flag without a value.
    switch: bool = False

    @property
    def flag(self) -> str:
        """The command line's name for it."""
        return "--label" if self.key == "labels" else "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment's name for it."""
        return ENVIRONMENT + self.key.upper()

    def shown(self, value: object) -> object:
        """A value as a file could say it, without what is secret in it; None where there is none."""
        return None if value is None else self.show(value)


_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What Grafana replaces wherever it stands in a query, in what is chosen too: of what agents say that is the site.
_MACRO = re.compile(r"\$\{?__|\$\w+\(", re.ASCII)
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


def _site(value: object) -> str:
    text = _text(value)
    if _MACRO.search(text):
        raise ValueError("expected no $__, ${__ or $word( within: Grafana would take that for its own")
    return text


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
        raise ValueError("expected true or false, on or off")
    return known


def _measure(value: object, units: Mapping[str, float], plain: str, example: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", str(value))
    unit = (match[2].lower() or plain) if match else ""
    if isinstance(value, bool) or not match or unit not in units:
        raise ValueError(f"expected a number with a unit, such as {example}")
    return float(match[1]) * units[unit]


def read_length(value: object) -> float:
    """Seconds of a length of time with a unit, such as 2h; a plain number is seconds. ValueError says what is wrong."""
    seconds = _measure(value, _SECONDS, "s", "2h")
    if not 0 < seconds <= 366 * 86400:
        raise ValueError("expected more than 0s and at most 366d")
    return seconds


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
        raise ValueError("expected a URL such as https://gpufleet.example:8478")
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


def read_proxy(value: object) -> str:
    """The URL of an HTTP proxy, or NO_PROXY. ValueError says what was expected."""
    text = _text(value).rstrip("/")
    if text.lower() == NO_PROXY:
        return NO_PROXY
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname or url.path or url.query or url.fragment or re.search(r"\s", text):
        raise ValueError(f"expected a URL such as http://proxy.example:3128, or {NO_PROXY}")
    _ = url.port  # raises ValueError where it is none
    return text


def _hidden(_value: object) -> str:
    return "(not shown)"


def _without_password(url: str) -> str:
    before, at, host = url.rpartition("@")
    return f"{before.split('://')[0]}://***@{host}" if at else url


def _one_of(words: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        word = _text(value).lower()
        if word not in words:
            raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}")
        return word

    return read


def _on_or_off(value: bool) -> str:
    return "on" if value else "off"


def _time(seconds: float) -> str:
    unit = next((u for u in ("d", "h", "m") if seconds >= 2 * _SECONDS[u] and seconds % _SECONDS[u] == 0), "s")
    return f"{seconds / _SECONDS[unit]:g}{unit}"


def _bytes(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return f"{size}B"


def _host_and_port(address: tuple[str, int]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


SETTINGS: tuple[Setting, ...] = (
    Setting("server", _server, "Base URL of the gpufleet server. Without it nothing is pushed.", "URL"),
    Setting(
        "token",
        _token,
        "Join token; better given by file or environment, flags are seen by other users.",
        "TOKEN",
        _hidden,
        secret=True,
    ),
    Setting("token_file", _path, "File that holds the join token; an empty one holds none.", "FILE"),
    Setting("interval", _interval, "Time between samples, 1s to 300s; a plain number is seconds.", "TIME", _time),
    Setting("state_dir", _path, "Folder for node id, credential and spool.", "FOLDER"),
    Setting("name", _text, "Name to show for this node instead of its hostname."),
    Setting("site", _site, "Site this node stands at."),
    Setting("room", _text, "Room this node stands in."),
    Setting("rack", _text, "Rack this node stands in."),
    Setting("labels", _labels, "Free label; may be given several times.", "KEY=VALUE", dict),
    Setting(
        "metrics_listen", _address, "Serve Prometheus text here; 9835 is a good port.", "ADDRESS:PORT", _host_and_port
    ),
    Setting(
        "metrics_allow_remote",
        _flag,
        "Let --metrics-listen be an address that other hosts can reach.",
        show=bool,
        switch=True,
    ),
    Setting(
        "dcgm_names",
        _flag,
        "Serve what --metrics-listen serves by the names, labels and units of NVIDIA's DCGM exporter.",
        show=bool,
        switch=True,
    ),
    Setting("spool_size", _size, "Most the reports that wait may take on disk; oldest go first.", "SIZE", _bytes),
    Setting("spool_age", _age, "Reports that wait longer than this are dropped.", "TIME", _time),
    Setting("ca_file", _path, "Certificates to trust for an https server instead of the system's.", "FILE"),
    Setting("client_cert", _path, "Certificate to show to an https server (mutual TLS), PEM.", "FILE"),
    Setting("client_key", _path, "Its key, PEM, if that is not in the same file.", "FILE"),
    Setting(
        "proxy",
        read_proxy,
        "HTTP proxy to reach the server through, or none; else HTTPS_PROXY, http_proxy and NO_PROXY say.",
        "URL",
        _without_password,
        secret=True,
    ),
    Setting("log_level", _one_of(_LOG_LEVELS), "debug, info, warning or error.", "LEVEL"),
    Setting(
        "log_format",
        _one_of(LOG_FORMATS),
        "text, json or journald; auto is journald where stderr is the journal's, else text.",
        "FORMAT",
    ),
    Setting("usage", _flag, "Tell the server who uses the GPUs: on or off.", "on|off", _on_or_off),
    Setting("user_names", _flag, "Tell it users by name (on) or by number only (off).", "on|off", _on_or_off),
    Setting(
        "command_lines",
        _flag,
        "Have `once` show the command lines of processes on GPUs; they leave the node in no case.",
        show=bool,
        switch=True,
    ),
    Setting(
        "kernel_log",
        _flag,
        "Read XIDs from the kernel log too, where this user may read that: on or off.",
        "on|off",
        _on_or_off,
    ),
)
