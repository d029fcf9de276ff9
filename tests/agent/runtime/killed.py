"""Processes that tell the same tale and end themselves by SIGKILL, each one operation later: `… FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.agent.runtime.disk import Disk, Fate, Op
from tests.agent.runtime.tale import Step, Tale

STEPS: list[Step] = [
    *("tick", "tick", "seal", "tick", "seal", "push", "tick", "restart", "tick", "push unheard", "seal", "restart"),
    *("push", "tick", "tick", "seal", "push", "push", "tick", "restart", "restart", "push", "tick", "seal"),
]  # fmt: skip


class Noted(Tale):
    """Notes outside of the disk that is watched what was read, and what arrived."""

    def note(self, folder: Path, step: Step) -> None:
        """Do a step and write down what it did."""
        before = len(self.arrived)
        self.go([step])
        for _, body in self.arrived[before:]:
            (folder / f"arrived-{len(self.arrived)}").write_bytes(body)
        (folder / "read").write_text(str(len(self.read)))


def promised(folder: Path) -> tuple[int, list[bytes]]:
    """How many samples were read for sure, and the bodies that arrived."""
    bodies = sorted(folder.glob("arrived-*"), key=lambda path: int(path.name[8:]))
    return int((folder / "read").read_text()), [path.read_bytes() for path in bodies]


def tell(folder: Path, last: int, torn: bool) -> None:
    """Tell the tale up to operation `last` and end within it where it is a write, else before it."""
    (folder / "read").write_text("0")
    with Disk(folder / "state") as disk:

        def decide(op: Op) -> Fate:
            if len(disk.ops) == last:
                if not (torn and op.kind == "write"):
                    os.kill(os.getpid(), signal.SIGKILL)
                return Fate(taken=len(op.data) // 2)
            return Fate()

        def done(_: Op) -> None:
            if len(disk.ops) == last + 1:
                os.kill(os.getpid(), signal.SIGKILL)

        disk.decide, disk.done = decide, done
        tale = Noted(folder / "state")
        for step in STEPS:
            tale.note(folder, step)


def main(folder: Path) -> int:
    """A process that comes to the end of the tale, then one for each operation; for each write one more."""
    with Disk(folder / "whole") as disk:
        Tale(folder / "whole").go(STEPS)
    places = [
        (number, torn) for number, op in enumerate(disk.ops) for torn in (False, True) if op.kind == "write" or not torn
    ]
    for number, (last, torn) in enumerate(places):
        own = folder / f"tale-{number}"
        own.mkdir()
        child = os.fork()
        if not child:
            try:
                tell(own, last, torn)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
