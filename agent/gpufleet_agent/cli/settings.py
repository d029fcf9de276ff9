"""`gpufleet-agent config check`: each setting, its value, where it comes from, and what is wrong with them."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

from gpufleet_agent.cli.run import NOTHING_TO_DO, is_idle
from gpufleet_agent.config import Config, ConfigError, Gathered, Given
from gpufleet_agent.runtime.proxy import Proxy, proxy_for
from gpufleet_agent.runtime.trust import trust_of
from gpufleet_agent.settings import SETTINGS


def check_settings(gathered: Gathered, as_json: bool) -> int:
    """Print them; 2 where `gpufleet-agent run` would refuse them for what they are, else 0."""
    problems = list(_problems(gathered))
    rows = list(_rows(gathered))
    if as_json:
        shown = {
            "valid": not problems,
            "file": str(gathered.file),
            "file_found": gathered.has_file,
            "problems": problems,
            "notes": list(_notes(gathered)),
            "settings": rows,
        }
        print(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        _print(gathered, rows)
        for problem in problems:
            print(f"gpufleet-agent: {problem}", file=sys.stderr)
    return 2 if problems else 0


def _problems(gathered: Gathered) -> Iterator[str]:
    try:
        config = gathered.config()
    except ConfigError as error:
        yield from error.problems
        return
    looks: list[Callable[[], object]] = [config.join_token, lambda: trust_of(config), lambda: _proxy_of(config)]
    for look in looks:
        try:
            look()
        except ConfigError as error:
            yield str(error)
    if is_idle(config):
        yield NOTHING_TO_DO


def _proxy_of(config: Config) -> Proxy | None:
    return proxy_for(config.server, config.proxy, os.environ) if config.server else None


def _notes(gathered: Gathered) -> Iterator[str]:
    """What is no reason to refuse them, and worth a look."""
    if not gathered.has_file:
        yield f"{gathered.file} is not there; nothing is taken from it"
        return
    secrets = [s.key for s in SETTINGS if s.secret and _given(gathered, s.key).origin == str(gathered.file)]
    if secrets and gathered.file.stat().st_mode & stat.S_IROTH:
        yield f"{gathered.file} holds {' and '.join(secrets)} and can be read by every user: chmod o-r"


def _rows(gathered: Gathered) -> Iterator[dict[str, Any]]:
    for setting in SETTINGS:
        given = _given(gathered, setting.key)
        yield {"setting": setting.key, "value": setting.shown(given.value), "from": given.origin}


def _given(gathered: Gathered, key: str) -> Given:
    return gathered.given.get(key) or Given(getattr(Config(), key))


def _print(gathered: Gathered, rows: list[dict[str, Any]]) -> None:
    values = [_text(row["value"]) for row in rows]
    wide = max(map(len, values))
    for row, value in zip(rows, values, strict=True):
        print(f"{row['setting']:22}{value:{wide}}  {row['from']}")
    for note in _notes(gathered):
        print(f"note: {note}")


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{key}={text}" for key, text in value.items()) or "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
