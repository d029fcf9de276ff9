"""The log's forms, as a process writes them."""

import json
import os
import re
import subprocess
import sys

import pytest
from gpufleet_agent.log import is_journal

CODE = """
import logging, sys
from gpufleet_agent.log import set_up_log
set_up_log(*sys.argv[1:])
log = logging.getLogger("gpufleet_agent")
log.info("two\\nlines \\u00fc")
try:
    raise OSError("no room")
except OSError:
    log.warning("look", exc_info=True)
"""


def logged(level: str, form: str) -> list[str]:
    """The lines that a process logs."""
    command = [sys.executable, "-X", "utf8", "-c", CODE, level, form]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()


def test_text_has_time_and_level() -> None:
    """UTC, so that nodes can be compared."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO two", logged("info", "text")[0])
    assert logged("warning", "auto")[0].endswith("WARNING look")


def test_json_is_an_object_a_line() -> None:
    """Whatever a message holds, and whatever went wrong, is one line."""
    first, second = (json.loads(line) for line in logged("info", "json"))
    assert (first["level"], first["message"]) == ("info", "two\nlines ü")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert second["exception"].endswith("OSError: no room")


def test_every_line_for_the_journal_has_its_priority() -> None:
    """The journal takes lines apart: each says how grave it is, none the time."""
    lines = logged("info", "journald")
    assert lines[:3] == ["<6>two", "<6>lines ü", "<4>look"]
    assert all(line.startswith("<4>") for line in lines[2:])


@pytest.mark.parametrize("given", ["", "1:2", "x", "1:2:3"])
def test_not_the_journal(given: str) -> None:
    """A variable that was inherited, or means another stream, is no journal."""
    assert not is_journal({"JOURNAL_STREAM": given})


def test_the_journal_is_known_by_its_stream() -> None:
    """Device and inode of the descriptor are those that systemd told."""
    reading, writing = os.pipe()
    status = os.fstat(writing)
    assert is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, writing)
    os.close(reading)
    os.close(writing)
