"""The unit under a real systemd, on the simulated driver: `python -m tests.packaging.live_unit`, as root.

With `kernel-log` as its argument also the drop-in for that, tried with an XID that is written into this machine's log:
not where somebody watches that.

Needs overlayfs and cgroup v2. No part of the test suite, since it starts a second systemd, in namespaces of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.agent.process import ROOT, until
from tests.nvml_sim.build import build
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm
from tests.ports import free_port

UNIT = "gpufleet-agent.service"
# A root of its own over the machine's: nothing that is written here is seen outside, or stays.
INSIDE = """
mount -t proc proc /proc
umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
for folder in /run /var/lib /etc/systemd/system /usr/lib/systemd/system-generators; do
    mount -t tmpfs tmpfs $folder
done
for file in passwd group; do
    cp /etc/$file {folder}/$file && grep -q ^gpufleet-agent: {folder}/$file || cat {folder}/user.$file >>{folder}/$file
    mount --bind {folder}/$file /etc/$file
done
mount -t overlay overlay -o lowerdir={folder}/root/usr:/usr /usr
mkdir -p /run/lock /etc/systemd/system/{unit}.d
cp {folder}/scenario /run/scenario && cp {folder}/trial.target /etc/systemd/system/
cp {folder}/trial.conf /etc/systemd/system/{unit}.d/
options="--unit=trial.target --show-status=no --crash-reboot=no"
exec env -i PATH=$PATH container=trial /lib/systemd/systemd --system $options
"""
DROP_IN = """[Unit]
DefaultDependencies=no
[Service]
Environment=LD_LIBRARY_PATH={library} GPUFLEET_NVML_SIM=/run/scenario GPUFLEET_AGENT_METRICS_LISTEN=127.0.0.1:{port}
StandardError=file:{folder}/log
"""
WITHOUT_LOG = "the kernel log cannot be read (no permission)"
CAP_SYSLOG = 1 << 34
XID = "NVRM: Xid (PCI:0000:1b:00): 79, pid=1, name=trial, this is a test of gpufleet-agent"
TARGET = f"[Unit]\nDefaultDependencies=no\nRequires={UNIT}\n"


def main(with_log: bool) -> int:
    """Run it, look at it, stop it; AssertionError where something is not as it should be."""
    folder = Path(tempfile.mkdtemp())
    port = free_port()
    try:
        prepare(folder, port, with_log)
        with systemd(folder) as (systemctl, group):
            until(lambda: "StatusText=driver ok" in systemctl("show", UNIT, "-p", "StatusText"), 60)
            until(lambda: "gpufleet_gpu_power_watts{" in scraped(port), 30)
            rights = look_at(group)
            if with_log:
                Path("/dev/kmsg").write_text(XID + "\n")
                until(lambda: "gpufleet_gpu_xids_total{" in scraped(port) and 'xid="79"' in scraped(port), 10)
            let_go(systemctl, group)
            told = systemctl("show", UNIT, "-p", "ActiveState,StatusText,NRestarts,User")
            systemctl("stop", UNIT)
            until(lambda: not processes(group))
        log = (folder / "log").read_text()
        print(told, *(f"{name}: {value}" for name, value in rights.items()), log, sep="\n")
    finally:
        shutil.rmtree(folder)
    capabilities = f"{CAP_SYSLOG if with_log else 0:016x}"
    assert rights == {"CapEff": capabilities, "CapBnd": capabilities, "NoNewPrivs": "1", "Seccomp": "2"}
    assert (WITHOUT_LOG in log) != with_log
    assert "NRestarts=0" in told
    return 0


def prepare(folder: Path, port: int, with_log: bool) -> None:
    """The package, unpacked, and what the trial adds to it."""
    environment = os.environ | {"PIP": f"{sys.executable} -m pip"}
    subprocess.run([str(ROOT / "agent/packaging/deb/build.sh"), str(folder)], check=True, env=environment)
    (package,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "root")], check=True)
    Scenario([busy(h100_sxm(0)), busy(h100_sxm(1))]).write(folder / "scenario")
    (folder / "trial.target").write_text(TARGET)
    drop_in = DROP_IN.format(library=build(), port=port, folder=folder)
    if with_log:
        drop_in += (ROOT / "agent/packaging/systemd/kernel-log.conf").read_text()
    (folder / "trial.conf").write_text(drop_in)
    (folder / "user.passwd").write_text("gpufleet-agent:x:990:990::/:/usr/sbin/nologin\n")
    (folder / "user.group").write_text("gpufleet-agent:x:990:\n")
    (folder / "inside").write_text(INSIDE.format(folder=folder, unit=UNIT))
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


class Systemctl:
    """Commands to the systemd inside."""

    def __init__(self, pid: int) -> None:
        self._enter = ["nsenter", "-t", str(pid), "-m", "-p", "-C"]

    def __call__(self, *command: str) -> str:
        """What it prints; empty while it cannot be reached."""
        return self.run("systemctl", "--no-pager", *command)

    def run(self, *command: str) -> str:
        """What root gets to see inside."""
        return subprocess.run([*self._enter, *command], check=False, capture_output=True, text=True, timeout=60).stdout


@contextmanager
def systemd(folder: Path) -> Iterator[tuple[Systemctl, Path]]:
    """A systemd while the block runs, and the control group of the unit."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    group = next(Path(mount[1]) for mount in mounts if mount[2] == "cgroup2") / f"gpufleet-trial-{os.getpid()}"
    group.mkdir()
    flags = ["--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--uts", "--ipc", "--propagation", "private"]
    enter = f"echo $$ >{group}/cgroup.procs && exec unshare {' '.join(flags)} bash -eu {folder}/inside"
    process = subprocess.Popen(["bash", "-c", enter])
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: children.read_text().split())
        yield Systemctl(int(children.read_text())), group / "system.slice" / UNIT
    finally:
        process.kill()
        process.wait()
        until(lambda: "populated 0" in (group / "cgroup.events").read_text())
        for below in sorted(group.rglob("*/"), reverse=True):
            if below.is_dir():
                below.rmdir()
        group.rmdir()


def let_go(systemctl: Systemctl, group: Path) -> None:
    """Root has the service let go of the driver, and take it up again."""
    assert len(processes(group)) == 2
    print(systemctl.run("gpufleet-agent", "pause", "--reason", "trial"), end="")
    assert len(processes(group)) == 1
    until(lambda: "StatusText=driver paused" in systemctl("show", UNIT, "-p", "StatusText"))
    print(systemctl.run("gpufleet-agent", "resume"), end="")
    assert len(processes(group)) == 2
    until(lambda: "StatusText=driver ok" in systemctl("show", UNIT, "-p", "StatusText"))


def processes(group: Path) -> list[int]:
    """The processes in a control group, the agent first."""
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def look_at(group: Path) -> dict[str, str]:
    """What the kernel says of the agent's rights."""
    status = Path(f"/proc/{processes(group)[0]}/status").read_text()
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {name: told[name] for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}


def scraped(port: int) -> str:
    """The agent's page of metrics; empty while there is none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            page: bytes = answer.read()
    except OSError:
        return ""
    return page.decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] == ["kernel-log"]))
