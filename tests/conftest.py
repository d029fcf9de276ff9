"""What all tests share: a PostgreSQL; CI takes no skipped test for a passed one; no test leaves its log to the next."""

import logging
import os
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How quick the machine is, is nobody's fault: of what takes long there are bounds of whole tests.
settings.register_profile("gpufleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gpufleet")


@pytest.fixture(autouse=True)
def log_of_its_own() -> Iterator[None]:
    """A command that sets up its log in this process leaves no handler on the output that was taken from it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a PostgreSQL on which databases may be made: GPUFLEET_TEST_DSN, else one that all workers share."""
    if given := os.environ.get("GPUFLEET_TEST_DSN"):
        return given
    from tests import postgres

    worker = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp()
    try:
        return postgres.shared(folder.parent if worker else folder, os.getppid() if worker else os.getpid())
    except postgres.NoPostgresError as error:
        pytest.skip(f"needs PostgreSQL: {error}")


@pytest.fixture
def postgres_database(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    from tests import postgres

    name = f"test_{secrets.token_hex(6)}"
    yield postgres.create_database(postgres_server, name)
    postgres.drop_database(postgres_server, name)


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
