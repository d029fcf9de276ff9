"""What the kernel shows and hides of processes, on this machine's own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from gpufleet_agent.usage.proc import ProcFiles
from gpufleet_agent.usage.users import UNKNOWN, WAITING, UserNames

from tests.agent.process import ROOT, until

LOOK = """
import os, sys
from pathlib import Path
from gpufleet_agent.usage.proc import ProcFiles, Unseen
files = ProcFiles(Path(sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for read in (files.stat, files.uid, files.cgroups, lambda pid: files.environment(pid, frozenset())):
    try:
        read(int(sys.argv[2])); print("seen")
    except Unseen as unseen:
        print(unseen)
"""


def said(*command: str) -> list[str]:
    """The lines that a command prints; the test is skipped where this machine does not allow it."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=dict(os.environ))
    if done.returncode:
        pytest.skip(f"{command[0]} is not possible here: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.splitlines()


def test_another_users_process() -> None:
    """Its group is there for all to see, its environment is not."""
    assert said(sys.executable, "-c", LOOK, "/", "1") == ["seen", "seen", "seen", "no permission"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a /proc of its own")
def test_hidden_processes() -> None:
    """Under hidepid another user's process looks as if it had ended, and is told apart from one that has."""
    # Not pytest's folder: other users cannot reach into that.
    with tempfile.TemporaryDirectory() as root, subprocess.Popen(["sleep", "60"]) as process:
        Path(root).chmod(0o755)
        Path(root, "proc").mkdir()
        mount = f"mount -t proc -o hidepid=2 proc {root}/proc && exec {sys.executable} -c '{LOOK}' {root} {process.pid}"
        hidden = said("unshare", "--mount", "sh", "-c", mount)
        process.kill()
        process.wait()
        ended = said("unshare", "--mount", "sh", "-c", mount)
    assert set(hidden) == {"/proc hides this process from the agent's user (hidepid)"}
    assert set(ended) == {"the process has ended"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a PID namespace")
def test_a_namespace_of_its_own() -> None:
    """An agent in a container without the host's process ids knows that it is in one."""
    code = "from gpufleet_agent.usage.proc import ProcFiles; print(ProcFiles().is_namespaced())"
    assert said("unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code) == ["True"]


def test_this_process() -> None:
    """Name, start and groups of the process that runs this test."""
    files, pid = ProcFiles(), os.getpid()
    name, ticks = files.stat(pid)
    assert name == Path("/proc/self/comm").read_text().strip()
    assert files.started(ticks) / 1e6 <= Path("/proc/self/comm").stat().st_ctime + 1
    assert files.uid(pid) == os.getuid()
    assert files.cgroups(pid) == Path("/proc/self/cgroup").read_text()


def test_a_name_service_that_hangs_holds_nobody_up() -> None:
    """The number stands for the user until the name comes, and is asked for once."""
    answer, asked = threading.Event(), []

    def slow(uid: int) -> str:
        asked.append(uid)
        answer.wait(60)
        return "alice"

    names = UserNames(slow)
    assert names.name(1000) == (None, WAITING)
    assert names.name(1000) == (None, WAITING)
    answer.set()
    until(lambda: names.name(1000) == ("alice", ""))
    assert asked == [1000]


def test_nor_does_it_for_many_users() -> None:
    """Their waits do not add up: the reader would be taken for one that hangs."""
    down, began = threading.Event(), time.monotonic()
    names = UserNames(lambda uid: str(down.wait(60)))
    assert {names.name(uid) for uid in range(1000, 1050)} == {(None, WAITING)}
    assert time.monotonic() - began < 8
    down.set()


def test_who_has_no_name_may_get_one() -> None:
    """An account that is made while its processes run is known by its name from then on."""
    made: dict[int, str] = {}
    names = UserNames(lambda uid: made[uid])
    assert names.name(1000) == (None, UNKNOWN)
    made[1000] = "alice"
    assert names.name(1000) == ("alice", "")


def test_an_id_without_a_name() -> None:
    """The host's own service: root has a name, an id out of the air has none."""
    names = UserNames()
    assert names.name(0) == ("root", "")
    assert names.name(999_999_999) == (None, UNKNOWN)


def test_a_name_is_text_whatever_the_name_service_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no UTF-8, and what a terminal would obey, do not reach the report."""
    entry = pwd.struct_passwd(("a\udcff\x1b[m", "x", 7, 7, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    assert UserNames().name(7) == ("a\ufffd?[m", "")
