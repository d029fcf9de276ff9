"""The log, on stderr: lines for people, JSON for collectors, or as the journal wants them."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping

# syslog's priorities, which the journal reads from the beginning of a line.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def set_up_log(level: str, form: str = "auto") -> None:
    """Log to stderr from `level` on. `form`: text, json, journald, or auto: what stderr is."""
    if form == "auto":
        form = "journald" if is_journal(os.environ) else "text"
    formatter = {"text": _Text, "json": _Json, "journald": _Journal}[form]()
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def is_journal(environment: Mapping[str, str], fd: int = 2) -> bool:
    """Whether a descriptor is the stream to the journal that systemd says it gave us ($JOURNAL_STREAM)."""
    try:
        device, inode = (int(part) for part in environment.get("JOURNAL_STREAM", "").split(":"))
        status = os.fstat(fd)
    except (ValueError, OSError):
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


class _Text(logging.Formatter):
    """One line a fact, in UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")


class _Json(logging.Formatter):
    """One JSON object a line: time (UTC, ms), level, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        told = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


class _Journal(logging.Formatter):
    """The message alone, since the journal keeps the time; every line of it with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())
