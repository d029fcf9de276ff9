"""Power cut, kill -9 and full disk at every write: what was promised is there, and nothing twice."""

import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from gpufleet_agent.runtime import spool as spool_module
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agent.process import ROOT
from tests.agent.runtime import killed
from tests.agent.runtime.disk import Disk, Fate, Left, Op
from tests.agent.runtime.tale import Step, Tale, fresh, told_after

LATER = 1_000_000
STEPS = st.lists(
    st.sampled_from(["tick", "tick", "tick", "seal", "seal", "push", "push unheard", "restart"]),
    min_size=4,
    max_size=14,
)


def recorded(steps: list[Step]) -> tuple[Tale, list[Op]]:
    """These steps on a disk that refuses nothing, and all that was done to it."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        with Disk(Path(folder)) as disk:
            tale = Tale(state, lambda: len(disk.ops))
            tale.go(steps)
        return tale, disk.ops


def check(tale: Tale, promised: list[tuple[int, int]], left: Left, done: int, chance: random.Random | None) -> None:
    """After so many operations and a loss by chance, or of nothing: a new agent has what was promised by then."""
    kept = 1.0 if chance is None else chance.choice([0.0, 0.5, 0.9])
    chance = chance or random.Random(0)
    arrived = [body for at, body in tale.arrived if at <= done]
    with tempfile.TemporaryDirectory() as folder, Disk(Path(folder)):
        left.write(Path(folder), lambda: chance.random() < kept)
        taken = told_after(Path(folder) / "state", arrived, LATER)
    assert taken == sorted(set(taken))
    assert set(taken) >= {at for when, at in promised if when <= done} | {LATER}
    assert set(taken) <= {*range(1, tale.at + 1), LATER}


@settings(max_examples=8, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1 << 32))
def test_power_may_be_cut_at_every_write(steps: list[Step], seed: int) -> None:
    """Whatever is lost of what was not synced: each report that was closed is there, whole and once."""
    tale, ops = recorded(steps)
    chance = random.Random(seed)
    for done in range(len(ops) + 1):
        left = Left.after(ops[:done])
        check(tale, tale.kept, left, done, chance)


@settings(max_examples=8, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1 << 32))
def test_nothing_that_was_read_is_lost_by_a_kill(steps: list[Step], seed: int) -> None:
    """The machine goes on: what an agent has appended when it is ended within any write is there, closed or not."""
    tale, ops = recorded(steps)
    chance = random.Random(seed)
    for done, op in enumerate(ops):
        check(tale, tale.read, Left.after(ops[:done]), done, None)
        if op.kind == "write":
            part = Op("write", op.name, op.inode, op.at, op.data[: chance.randrange(len(op.data))])
            check(tale, tale.read, Left.after([*ops[:done], part]), done, None)


def test_a_process_killed_at_every_write_loses_nothing(tmp_path: Path) -> None:
    """The same with real processes that end themselves by SIGKILL, on the real disk."""
    command = [sys.executable, "-m", "tests.agent.runtime.killed", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=100)
    tales = sorted(tmp_path.glob("tale-*"), key=lambda path: int(path.name[5:]))
    assert len(tales) > 2 * len(killed.STEPS)
    for folder in tales:
        read, arrived = killed.promised(folder)
        with Disk(folder):
            taken = told_after(folder / "state", arrived, LATER)
        assert taken == sorted(set(taken))
        assert set(taken) >= {*range(1, read + 1), LATER}, folder


@settings(max_examples=30, deadline=None)
@given(
    steps=STEPS.filter(lambda steps: "restart" not in steps),
    first=st.integers(0, 60),
    count=st.integers(1, 60),
    torn=st.booleans(),
    code=st.sampled_from([errno.ENOSPC, errno.EDQUOT, errno.EIO]),
)
def test_a_disk_that_refuses_for_a_while_loses_nothing(
    steps: list[Step], first: int, count: int, torn: bool, code: int
) -> None:
    """Full from any write on, in the middle of it too, until there is room again: all is delivered once, in order."""
    with tempfile.TemporaryDirectory() as folder, Disk(Path(folder)) as disk:
        seen = 0

        def decide(op: Op) -> Fate:
            nonlocal seen
            if not (op.grows or (code == errno.EIO and op.kind.startswith("sync"))):
                return Fate()
            seen += 1
            if torn and seen == first and op.kind == "write" and len(op.data) > 1:
                return Fate(taken=len(op.data) // 2)
            return Fate(refused=code) if first <= seen < first + count else Fate()

        disk.decide = decide
        tale = Tale(Path(folder) / "state", lambda: len(disk.ops))
        tale.go(steps)
        disk.decide = lambda _: Fate()
        tale.go(["tick", "seal", "tick", "seal"])
        kinds = [event.kind for event in tale.spool.take_notices()]
        assert kinds.count("spool_recovered") == min(kinds.count("spool_degraded"), 1)
        arrived = [body for _, body in tale.arrived]
        with tempfile.TemporaryDirectory() as copy:
            # There is room: whoever takes over now has all of it.
            shutil.copytree(folder, copy, dirs_exist_ok=True)
            assert told_after(Path(copy) / "state", arrived, LATER) == [*range(1, tale.at + 1), LATER]
        assert tale.finish() == list(range(1, tale.at + 1))


@settings(max_examples=20, deadline=None)
@given(steps=STEPS, first=st.integers(0, 60), seed=st.integers(0, 1 << 32))
def test_power_cut_while_the_disk_is_full(steps: list[Step], first: int, seed: int) -> None:
    """What was on disk stays; what was in memory only is gone."""
    with tempfile.TemporaryDirectory() as folder, Disk(Path(folder)) as disk:
        disk.decide = lambda op: Fate(refused=errno.ENOSPC) if op.grows and len(disk.ops) >= first else Fate()
        tale = Tale(Path(folder) / "state", lambda: len(disk.ops))
        tale.go(steps)
    check(tale, tale.kept, Left.after(disk.ops), len(disk.ops), random.Random(seed))


def test_what_there_is_no_room_for_is_dropped_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that is full for good what was on it stays, memory holds the newest, and the gap has its times."""
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 1500)
    with Disk(tmp_path) as disk:
        tale = Tale(tmp_path / "state")
        tale.go(["tick", "seal"] * 5)
        disk.decide = lambda op: Fate(refused=errno.ENOSPC) if op.grows else Fate()
        tale.go(["tick", "seal"] * 20)
        backlog, event = tale.spool.backlog, tale.spool.take_dropped()
        assert (backlog.reports + backlog.dropped, backlog.dropped > 0) == (25, True)
        assert event is not None
        assert event.detail == {"reports": backlog.dropped, "from": 6, "to": 5 + backlog.dropped}
        assert tale.finish() == [*range(1, 6), *range(6 + backlog.dropped, 26)]


def test_what_had_to_stay_in_memory_goes_to_disk_once_there_is_room(tmp_path: Path) -> None:
    """A kill after that loses none of it; each trouble is told once, and its end."""
    with Disk(tmp_path) as disk:
        tale = Tale(tmp_path / "state")
        disk.decide = lambda op: Fate(refused=errno.ENOSPC) if op.grows else Fate()
        tale.go(["tick", "seal"] * 20)
        assert [event.kind for event in tale.spool.take_notices()] == ["spool_degraded"] * 2
        disk.decide = lambda _: Fate()
        tale.go(["tick", "seal"])
        assert [event.kind for event in tale.spool.take_notices()] == ["spool_recovered"]
        tale.go(["tick", "seal"])
    again = fresh(tmp_path / "state")
    assert again.backlog.reports == 22
    assert all(entry.body is None for entry in again.heads(22))


def test_a_disk_with_room_for_reports_only_is_told_once(tmp_path: Path) -> None:
    """While no journal can be written that is one trouble, not one more with each report."""
    with Disk(tmp_path) as disk:
        tale = Tale(tmp_path / "state")
        disk.decide = lambda op: Fate(refused=errno.ENOSPC) if op.name.suffix == ".journal" else Fate()
        tale.go(["tick", "seal"] * 3)
        told = [(event.kind, event.message.split(": ")[0]) for event in tale.spool.take_notices()]
        assert told == [("spool_degraded", "the open report is kept in memory only")]
        assert os.listdir(tmp_path / "state/spool") == sorted(f"{n:020}.report" for n in (1, 2, 3))  # noqa: PTH208
