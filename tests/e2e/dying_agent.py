"""An agent with the fake driver that is ended by SIGKILL where its renewed credential goes to disk.

`python -m tests.e2e.dying_agent PLACE DRIVER STATE run-options…`; the places are `PLACES`.
"""

import os
import signal
import sys
from pathlib import Path

from tests.agent import process
from tests.agent.runtime.disk import Disk, Fate, Op

PLACES = ("create", "half a write", "sync", "rename", "after")


def main(place: str, driver: str, state: str, *settings: str) -> int:
    """Run until that place, or until a signal comes."""
    with Disk(Path(state)) as disk:

        def decide(op: Op) -> Fate:
            if not op.name.name.startswith("credential.json"):
                return Fate()
            if op.kind == place:
                os.kill(os.getpid(), signal.SIGKILL)
            return Fate(taken=len(op.data) // 2 if place == "half a write" else None)

        def done(op: Op) -> None:
            is_written = place == "half a write" and op.kind == "write"
            if op.name.name.startswith("credential.json") and (is_written or (place, op.kind) == ("after", "rename")):
                os.kill(os.getpid(), signal.SIGKILL)

        disk.decide, disk.done = decide, done
        return process.main(driver, state, *settings)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
