"""An agent with the fake driver as a process of its own: `python -m tests.agent.process FOLDER run-options…`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gpufleet_agent.config import load
from gpufleet_agent.log import set_up_log
from gpufleet_agent.runtime.agent import Agent
from gpufleet_agent.runtime.supervisor import Patience

from tests.agent.fake_driver import FakeBackend

ROOT = Path(__file__).parents[2]


def main(driver: str, state: str, *settings: str) -> int:
    """Run until a signal comes; settings are key=value, and `fsize` is the largest file the process may write.

    The driver may be silent for `silence` seconds: by default for longer than a busy machine keeps its reader waiting.

    The kernel log of the machine, which may tell of real GPUs, is none of its business.
    """
    flags = dict(setting.split("=", 1) for setting in settings)
    if "fsize" in flags:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(flags.pop("fsize")),) * 2)
    silence = float(flags.pop("silence", "60"))
    config = load({"state_dir": state, "interval": "1s", "kernel_log": "off", **flags}, {})
    set_up_log(config.log_level, config.log_format)
    patience = Patience(silence=silence, opening=silence, restart=0.1, restart_absent=0.2, restart_most=0.5)
    return Agent(config, FakeBackend(Path(driver)), patience=patience).run()


@contextmanager
def agent(folder: Path, *settings: str, under: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent while the block does: its driver's files in `folder/driver`, its log in `folder/log`.

    `under` is a command that runs it.
    """
    (folder / "driver").mkdir(exist_ok=True)
    command = [*under, sys.executable, "-m", "tests.agent.process", str(folder / "driver"), str(folder / "state")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*command, *settings], stderr=log, cwd=ROOT, env=dict(os.environ))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for the condition to hold. AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
