"""The kernel log is followed, and by the next agent gone on with, from a pipe and from the machine's own."""

from __future__ import annotations

import os
import secrets
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_agent.catalogue import Reason
from gpufleet_agent.runtime import kernel_log
from gpufleet_agent.runtime.kernel_log import KernelLog
from gpufleet_agent.wire import Event, Gpu

from tests.agent.runtime.kernel_log_file import KernelLogFile

GPUS = [Gpu(uuid="GPU-a", vendor="nvidia", index=0, pci_address="00000000:1B:00.0")]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelLogFile]:
    """An empty log, which may be looked at without a rest."""
    monkeypatch.setattr(kernel_log, "_REST_SECONDS", 0.0)
    log = KernelLogFile(tmp_path)
    yield log
    log.close()


def follow(file: KernelLogFile, told: list[Event] | None = None) -> KernelLog:
    """An agent's look at the log; its memory lies beside it."""
    log = KernelLog(file.path, file.path.parent, told or [])
    log.meet(GPUS)
    return log


def codes(log: KernelLog) -> list[int | None]:
    """The codes of what the next look gives, and remember it."""
    found = [event.code for event in log.look()]
    log.remember()
    return found


def test_the_first_agent_tells_what_comes_after_it(file: KernelLogFile) -> None:
    """Not what the log had of days in which nobody asked."""
    file.xid(79, ago=86_400)
    log = follow(file)
    assert codes(log) == []
    before = time.time_ns() // 1000
    file.xid(31)
    (event,) = log.look()
    assert (event.kind, event.code, event.gpu, event.source) == ("xid", 31, "GPU-a", "kernel log")
    assert before <= event.at <= time.time_ns() // 1000
    assert event.message.endswith("GPU has fallen off the bus.")
    assert event.detail == {"pci_address": "0000:1b:00", "record": 2}


def test_the_next_agent_tells_what_came_in_between(file: KernelLogFile) -> None:
    """Neither what was told before nor less than all of the rest, each with its own time."""
    first = follow(file)
    assert codes(first) == []
    file.xid(31)
    assert codes(first) == [31]
    first.close()
    file.xid(79, ago=60)
    file.say("something else", ago=50)
    file.xid(119, "0000:2b:00", ago=40)
    file.repeat()
    second = follow(file)
    fell, hung = second.look()
    assert [fell.code, hung.code] == [79, 119]
    assert time.time() - fell.at / 1e6 == pytest.approx(60, abs=15)
    assert (fell.gpu, hung.gpu) == ("GPU-a", None)


def test_what_was_told_but_not_remembered_is_not_told_again(file: KernelLogFile) -> None:
    """An agent that is killed in between finds its own event in what it kept."""
    first = follow(file)
    assert codes(first) == []
    file.xid(31)
    told = first.look()
    assert len(told) == 1
    file.repeat()
    assert codes(follow(file, told)) == []


def test_neither_after_a_boot(file: KernelLogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the last that was remembered is of the boot before."""
    monkeypatch.setattr(kernel_log, "boot_id", lambda: "before")
    assert codes(follow(file)) == []
    monkeypatch.setattr(kernel_log, "boot_id", lambda: "now")
    file.xid(31)
    told = follow(file).look()
    file.xid(79)
    file.repeat()
    assert codes(follow(file, told)) == [79]


def test_a_new_boot_is_read_from_its_beginning(file: KernelLogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records begin to count anew, and what the driver said before the agent came is news."""
    monkeypatch.setattr(kernel_log, "boot_id", lambda: "before")
    first = follow(file)
    file.xid(31)
    assert codes(first) == []
    monkeypatch.setattr(kernel_log, "boot_id", lambda: "now")
    file.repeat()
    assert codes(follow(file)) == [31]


def test_a_board_that_sits_where_another_was_lost(file: KernelLogFile) -> None:
    """What is told of the place is told of the board that answers there."""
    log = follow(file)
    assert codes(log) == []
    new = Gpu(uuid="GPU-b", vendor="nvidia", index=0, pci_address="00000000:1B:00.0")
    log.meet([new, Gpu(uuid="GPU-a", vendor="nvidia", index=1, pci_address="00000000:1B:00.0", state="lost")])
    file.xid(31)
    assert [event.gpu for event in log.look()] == ["GPU-b"]


def test_a_gpu_that_is_gone_still_has_its_name(file: KernelLogFile) -> None:
    """Also for the next agent, which never saw it."""
    first = follow(file)
    assert codes(first) == []
    second = KernelLog(file.path, file.path.parent)
    second.meet([])
    file.xid(79)
    assert [event.gpu for event in second.look()] == ["GPU-a"]


def test_a_storm_is_taken_in_pieces(file: KernelLogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """No look takes long, and between looks there is a rest in which nothing wakes the agent."""
    log = follow(file)
    assert codes(log) == []
    monkeypatch.setattr(kernel_log, "_REST_SECONDS", 60.0)
    monkeypatch.setattr(kernel_log, "_MOST_AT_ONCE", 1)
    for _ in range(200):
        file.xid(31)
    assert 0 < len(codes(log)) < 200
    assert (codes(log), log.readers) == ([], [])
    assert log.due < float("inf")


def test_a_quiet_log_wakes_nobody(file: KernelLogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to do until it becomes readable; after something came it is left alone for a moment."""
    log = follow(file)
    assert codes(log) == []
    monkeypatch.setattr(kernel_log, "_REST_SECONDS", 0.2)
    assert (codes(log), log.due, len(log.readers)) == ([], float("inf"), 1)
    file.say("a line of somebody's")
    began = time.monotonic()
    assert (codes(log), log.readers) == ([], [])
    assert began < log.due <= time.monotonic() + 0.2


def test_what_was_overwritten_is_noticed(file: KernelLogFile, caplog: pytest.LogCaptureFixture) -> None:
    """A log that goes round loses records; how many is told."""
    log = follow(file)
    file.say("a")
    assert codes(log) == []
    file.number += 41
    file.xid(31)
    assert codes(log) == [31]
    assert "41 records of the kernel log were overwritten" in caplog.text


def test_what_root_writes_is_told_as_such(file: KernelLogFile) -> None:
    """As everybody does who tries out alerts."""
    log = follow(file)
    assert codes(log) == []
    file.say("NVRM: Xid (PCI:0000:1b:00): 79, test", priority=12)
    assert log.look()[0].detail["injected"] is True


@pytest.mark.parametrize(
    ("process", "rest"),
    [
        ("pid=4711, name=python3, ", "Ch 00000008, intr 10000000"),
        ("pid='4711', name=my job, ", "Ch 00000008"),
        ("pid=4711, name=last", ""),
        ("", "GPU has fallen off the bus."),
    ],
)
def test_whose_it_was_is_told_only_where_that_may_be_known(file: KernelLogFile, process: str, rest: str) -> None:
    """Neither in the words nor beside them."""
    logs = [KernelLog(file.path, file.path.parent, tells_processes=tells) for tells in (False, True)]
    for log in logs:
        log.look()
        file.say(f"NVRM: Xid (PCI:0000:1b:00): 31, {process}{rest}")
        (event,) = log.look()
        assert event.message == (rest if log is logs[0] else f"{process}{rest}".strip())
        assert ("pid" in event.detail) == ("name" in event.detail) == (log is logs[1] and process != "")


def test_without_a_log_or_the_right_to_read_it_there_is_none(tmp_path: Path) -> None:
    """It says why, and gives nothing to wait for."""
    log = KernelLog(tmp_path / "none", tmp_path)
    assert (log.trouble, log.look(), log.readers, log.due) == (Reason.UNSUPPORTED, [], [], float("inf"))
    log.remember()
    log.close()


@pytest.mark.parametrize(("path", "reason"), [("/dev/null", Reason.UNSUPPORTED), ("/", Reason.FAILED)])
def test_what_is_no_log_is_left_alone(path: str, reason: Reason, tmp_path: Path) -> None:
    """Some containers have another device in its place, which is readable without end: it must not spin."""
    log = KernelLog(Path(path), tmp_path)
    assert log.look() == []
    assert (log.trouble, log.readers, log.due) == (reason, [], float("inf"))


def test_a_memory_that_is_no_memory_is_a_first_time(file: KernelLogFile) -> None:
    """Nothing of the past is told twice because a file was damaged."""
    (file.path.parent / "kernel-log.json").write_bytes(b"\xff{")
    file.xid(31)
    assert codes(follow(file)) == []


# Not where somebody watches the log for just that.
@pytest.mark.skipif(
    not os.access("/dev/kmsg", os.R_OK | os.W_OK) or Path("/proc/driver/nvidia").exists(),
    reason="needs the right to write the kernel log, and a machine without a GPU",
)
def test_the_machines_own_log(tmp_path: Path) -> None:
    """The kernel's own device: records, their numbers, the end of what is there, and going on later."""
    log = KernelLog(Path("/dev/kmsg"), tmp_path)
    if log.trouble is not None:
        pytest.skip("this process may not read the kernel log")
    log.meet(GPUS)
    assert drained(log) == []
    mark = secrets.token_hex(8)
    write(f"NVRM: Xid (PCI:0000:1b:00): 79, pid=1, name=test, {mark}")
    (event,) = drained(log)
    assert (event.code, event.gpu, event.detail["injected"]) == (79, "GPU-a", True)
    assert mark in event.message
    log.remember()
    log.close()
    write(f"nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 {mark}")
    after = KernelLog(Path("/dev/kmsg"), tmp_path)
    assert [(event.kind, event.code) for event in drained(after)] == [("sxid", 20034)]
    after.close()


def write(text: str) -> None:
    """Put a record into the machine's log."""
    Path("/dev/kmsg").write_text(text + "\n")


def drained(log: KernelLog) -> list[Event]:
    """All that the log has to give now."""
    found: list[Event] = []
    while True:
        found += log.look()
        time.sleep(max(0.0, log.due - time.monotonic()))
        if not select.select(log.readers, [], [], 0.0)[0]:
            return found
