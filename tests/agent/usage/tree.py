"""A node's files for tests: processes in /proc, control groups, kubelet's log folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

# Above what a kernel hands out unless it is told to; nothing of this machine runs under such an id.
FIRST_PID = 4_190_000


@dataclass
class Node:
    """Writes files below `root`, as the kernel and kubelet would."""

    root: Path
    _pids: int = field(default=FIRST_PID)

    def process(
        self,
        cgroup: str,
        *,
        pid: int = 0,
        uid: int = 0,
        command: str = "python3",
        started: int = 1000,
        arguments: tuple[str, ...] = ("python3", "train.py"),
        environment: dict[str, str] | None = None,
    ) -> int:
        """A process; its id."""
        if not pid:
            self._pids += 1
            pid = self._pids
        folder = self.root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        # Field 22 is when it started.
        (folder / "stat").write_text(f"{pid} ({command}) S {' '.join(str(n) for n in range(4, 22))} {started} 0 0\n")
        (folder / "status").write_text(f"Name:\t{command}\nUid:\t{uid}\t0\t0\t0\n")
        (folder / "cgroup").write_text(cgroup)
        (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in arguments))
        pairs = (environment or {}).items()
        (folder / "environ").write_bytes(b"".join(f"{name}={value}\0".encode() for name, value in pairs))
        return pid

    def file(self, path: str, text: str = "") -> None:
        """Any file."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def pod(self, namespace: str, pod: str, uid: str) -> None:
        """The folder that kubelet makes for a pod's logs."""
        (self.root / "var/log/pods" / f"{namespace}_{pod}_{uid}").mkdir(parents=True)

    def namespace(self, number: int) -> None:
        """Put the agent into this PID namespace."""
        (self.root / "proc/self/ns").mkdir(parents=True)
        (self.root / "proc/self/ns/pid").symlink_to(f"pid:[{number}]")
