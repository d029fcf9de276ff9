"""Questions that are not answered."""

import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from gpufleet_agent.usage.patient import Patient, Unanswered
from gpufleet_agent.usage.proc import STUCK, ProcFiles, Unseen


def test_nobody_waits_for_long() -> None:
    """Who is stuck is asked once; four of them and nobody is asked, until one of them answers."""
    patient, release, asked = Patient(), threading.Event(), list[int]()

    def stuck(subject: int) -> None:
        asked.append(subject)
        release.wait()

    began = time.monotonic()
    for subject in (1, 1, 1, 2, 3, 4, 5, 6):
        with pytest.raises(Unanswered):
            patient.ask(subject, partial(stuck, subject))
    assert asked == [1, 2, 3, 4]
    assert time.monotonic() - began < 10
    release.set()
    while True:
        try:
            assert patient.ask(1, lambda: "answer") == "answer"
            return
        except Unanswered:
            assert time.monotonic() - began < 60


def test_what_fails_fails_here() -> None:
    """An error of the question is one of the asker."""
    with pytest.raises(FileNotFoundError):
        Patient().ask(1, lambda: Path("/nowhere").read_bytes())


def test_a_process_that_is_stuck_holds_nobody_up(tmp_path: Path) -> None:
    """Its environment is not to be had, and that is said; a pipe without a writer stands for the kernel's lock."""
    (tmp_path / "proc/7").mkdir(parents=True)
    os.mkfifo(tmp_path / "proc/7/environ")
    with pytest.raises(Unseen, match=STUCK):
        ProcFiles(tmp_path).environment(7, frozenset())
    os.close(os.open(tmp_path / "proc/7/environ", os.O_RDWR))
