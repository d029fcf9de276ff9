"""A real file system of the test's own that is full, gets room, and becomes read-only; where a test may mount one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.fake_driver import raise_xids
from tests.agent.ingest_end import TOKEN, IngestEnd, serving
from tests.agent.process import ROOT, agent, until
from tests.agent.runtime.tale import Tale, fresh

# In namespaces of its own, so that nothing of it is seen outside and all of it goes with the process.
ALONE = ["unshare", "--user", "--map-root-user", "--mount"]
MOUNTED = [*ALONE, "sh", "-ec", 'mount -t tmpfs -o "$1" tmpfs "$0"; shift; exec "$@"']


def _may_mount() -> bool:
    command = [*MOUNTED, "/mnt", "size=64k", "true"]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not _may_mount(), reason="no file system can be mounted here")


def test_the_spool_on_a_small_disk(tmp_path: Path) -> None:
    """Full, with room again, read-only, writable again: told each time, and all arrives once."""
    command = [*MOUNTED, str(tmp_path), "size=128k", sys.executable, "-m", "tests.agent.runtime.test_small_disk"]
    subprocess.run([*command, str(tmp_path)], cwd=ROOT, check=True, timeout=60)


def test_an_agent_without_a_disk_goes_on_in_memory(tmp_path: Path) -> None:
    """Its state folder is to be on a read-only file system: a warning, and all that it reads arrives."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with (
        serving(IngestEnd()) as end,
        agent(
            tmp_path,
            f"server={end.url}",
            f"token={TOKEN}",
            f"state_dir={disk / 'state'}",
            under=[*MOUNTED, str(disk), "ro"],
        ),
    ):
        until(lambda: end.times)
        raise_xids(tmp_path / "driver", "79")
        until(lambda: {"xid", "spool_degraded"} <= set(end.kinds))
    log = (tmp_path / "log").read_text()
    assert "Read-only file system: everything is kept in memory only" in log
    assert "the credential cannot be kept" in log
    assert list(disk.iterdir()) == []


def on_a_small_disk(disk: Path) -> None:
    """The story of the first test, in its namespace."""

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", "tmpfs", str(disk)], check=True)

    def told() -> set[str]:
        return {event.kind for event in tale.spool.take_notices()}

    tale = Tale(disk / "state")
    tale.go(["tick", "seal"] * 60)
    on_disk = sum(entry.body is None for entry in tale.spool.heads(60))
    assert 5 < on_disk < 60
    assert "spool_degraded" in told()
    assert fresh(disk / "state").backlog.reports >= on_disk
    remount("size=8m")
    tale.go(["tick", "seal"] * 10)
    assert told() == {"spool_recovered"}
    assert all(entry.body is None for entry in tale.spool.heads(100))
    remount("ro")
    tale.go(["tick", "seal", "tick"])
    assert told() == {"spool_degraded"}
    assert fresh(disk / "state").backlog.reports == 70
    remount("rw")
    tale.go(["seal", "tick", "seal"])
    assert told() == {"spool_recovered"}
    assert tale.finish() == list(range(1, tale.at + 1))


if __name__ == "__main__":
    on_a_small_disk(Path(sys.argv[1]))
