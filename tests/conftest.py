"""What all tests share: CI takes no skipped test for a passed one, and no test leaves its log to the next."""

import logging
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A command that sets up its log in this process leaves no handler on the output that was taken from it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was skipped."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"SKIPPED, NOT SHOWN: {report.nodeid}", red=True, bold=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under GPUFLEET_NO_SKIPS a run with a skipped test has failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("GPUFLEET_NO_SKIPS") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
