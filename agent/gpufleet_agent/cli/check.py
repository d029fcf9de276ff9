"""`gpufleet-agent check`: what this host can and cannot give, and why."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from gpufleet_agent import __version__
from gpufleet_agent.backends.backend import Backend
from gpufleet_agent.catalogue import BY_NAME, METRICS
from gpufleet_agent.cli.probe import Probe, probe
from gpufleet_agent.config import Config, ConfigError
from gpufleet_agent.host import attribution, read_host
from gpufleet_agent.runtime.clock import read_clock
from gpufleet_agent.runtime.enrol import Enroller
from gpufleet_agent.runtime.fault_sources import KERNEL_LOG
from gpufleet_agent.runtime.proxy import proxy_for
from gpufleet_agent.runtime.push import Link, Unreachable
from gpufleet_agent.runtime.trust import trust_of
from gpufleet_agent.runtime.vendors import AnyVendor
from gpufleet_agent.usage.attribution import NAMESPACE, Attribution
from gpufleet_agent.usage.holder import GpuUsage
from gpufleet_agent.usage.proc import ProcFiles, Unseen
from gpufleet_agent.wire import CLOCK_HEADER, CONTENT_TYPE, ENCODING, REPORT_PATH, Gpu, Host, clock_header, unpack

Level = Literal["ok", "note", "problem"]
# Reasons that somebody can do something about; the others are what the hardware is.
_MENDABLE = frozenset({"no permission", "failed", "implausible", "lost"})


class Finding(Struct):
    """One thing that was looked at. `absent`: reason → names of what is not there."""

    subject: str
    level: Level
    text: str
    absent: dict[str, list[str]] = {}


def check(config: Config, as_json: bool, timeout: float, backend: Backend | None = None, root: Path = Path("/")) -> int:
    """Look at everything and print it. 0 all well, 1 something is wrong, 3 no driver."""
    found = probe(backend or AnyVendor(), timeout, attribution=Attribution(root))
    findings = [_driver(found), *_gpus(found), _host(read_host(config, found.facts, root))]
    findings.append(_processes(config, found.usage, root))
    findings.append(_kernel_log(config, root))
    findings += [_state(config.state_dir), *_server(config)]
    code = 3 if found.driver.state == "absent" else int(any(finding.level == "problem" for finding in findings))
    if as_json:
        shown = {"agent_version": __version__, "exit_code": code, "findings": findings}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode() + "\n")
    else:
        for finding in findings:
            _print(finding)
    return code


def _driver(found: Probe) -> Finding:
    if found.driver.state != "ok" or found.facts is None:
        return Finding("driver", "problem", f"{found.driver.state}: {found.driver.detail}")
    versions = f"{found.facts.driver_version or 'version unknown'}, CUDA {found.facts.cuda_version or 'unknown'}"
    if not found.gpus:
        return Finding("driver", "problem", f"{versions}; it shows no GPU")
    return Finding("driver", "ok", f"{versions}, {len(found.gpus)} GPUs", _by_reason(found.facts.absent))


def _gpus(found: Probe) -> Iterator[Finding]:
    stored = {(state.gpu, state.metric): state.stored for state in found.states}
    if found.tick is not None:
        for name, column in found.tick.columns.items():
            values = unpack(column, BY_NAME[name].width)
            stored.update({(gpu, name): value for gpu, value in zip(found.tick.gpus, values, strict=True)})
    for gpu in found.gpus or []:
        of_gpu = {name: value for (uuid, name), value in stored.items() if uuid == gpu.uuid}
        yield _gpu(gpu, of_gpu, gpu.uuid in found.xid_gpus)


def _gpu(gpu: Gpu, stored: dict[str, int], tells_xids: bool) -> Finding:
    reasons = {m.name: m.reason(stored[m.name]) for m in METRICS if m.name in stored}
    absent = {name: reason.word for name, reason in reasons.items() if reason is not None}
    given = len(reasons) - len(absent)
    identity = {f"{name} (identity)": reason for name, reason in gpu.absent.items()}
    bad = gpu.state != "ok" or any(reason in _MENDABLE for reason in absent.values())
    text = f"{gpu.model or 'model unknown'} {gpu.uuid}, {gpu.state}; {given} of {len(METRICS)} metrics"
    text += ", XID events" if tells_xids else ", no XID events"
    return Finding(f"GPU {gpu.index}", "problem" if bad else "ok", text, _by_reason({**absent, **identity}))


def _host(host: Host) -> Finding:
    of_driver = ("fabric_manager", "kernel_log")
    absent = {
        name: reason for name, reason in host.absent.items() if not name.endswith("_version") and name not in of_driver
    }
    text = f"{host.hostname}, {host.os or 'OS unknown'}, kernel {host.kernel}"
    return Finding("host", "note" if absent else "ok", text, _by_reason(absent))


def _processes(config: Config, lists: Sequence[GpuUsage], root: Path) -> Finding:
    """Whether it can be told who a process belongs to, tried on the first one, which is root's."""
    files = ProcFiles(root)
    absent = {f"processes on {each.partition or each.gpu}": each.reason for each in lists if each.reason is not None}
    if files.is_namespaced():
        return Finding("processes", "note", NAMESPACE, _by_reason(absent))
    try:
        files.cgroups(1)
    except Unseen as unseen:
        text = f"who uses a GPU cannot be told of other users' processes: {unseen}"
        return Finding("processes", "note", text, _by_reason(absent))
    try:
        files.environment(1, frozenset())
    except Unseen as unseen:
        absent["account and partition of other users' Slurm jobs"] = str(unseen)
    told = {"off": "; the server is not told: usage is off", "numbers": ", users by number: user_names is off"}
    text = f"who uses a GPU can be told{told.get(attribution(config), '')}"
    return Finding("processes", "note" if absent else "ok", text, _by_reason(absent))


def _kernel_log(config: Config, root: Path) -> Finding:
    if not config.kernel_log:
        return Finding("kernel log", "note", "not read: kernel_log is off")
    path = root / KERNEL_LOG
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        return Finding("kernel log", "note", f"{path}: {error.strerror}; XIDs come from the driver alone")
    return Finding("kernel log", "ok", f"{path} can be read")


def _state(folder: Path) -> Finding:
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except PermissionError as error:
        return Finding("state folder", "problem", f"{folder}: {error.strerror}; this user cannot run an agent with it")
    if not nearest.is_dir():
        return Finding("state folder", "problem", f"{nearest} is not a folder")
    if nearest != folder:
        fine = os.access(nearest, os.W_OK | os.X_OK)
        text = f"{folder} is not there yet and {'can' if fine else 'cannot'} be made"
        return Finding("state folder", "ok" if fine else "problem", text)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)
    except OSError as error:
        return Finding("state folder", "problem", f"{folder}: {error.strerror}; reports would be kept in memory only")
    return Finding("state folder", "ok", f"{folder} can be written")


def _server(config: Config) -> Iterator[Finding]:
    if config.server is None:
        yield Finding("server", "note", "none is set")
        return
    try:
        proxy = proxy_for(config.server, config.proxy, os.environ)
        link = Link(config.server, trust_of(config), proxy)
    except ConfigError as error:
        yield Finding("server", "problem", str(error))
        return
    through = f" through the proxy {proxy}" if proxy else ""
    try:
        answer = link.get("/healthz")
        well = answer.status == 200
        yield Finding("server", "ok" if well else "problem", f"{config.server}{through} answers HTTP {answer.status}")
        yield _credential(config, link)
    except Unreachable as error:
        yield Finding("server", "problem", f"{config.server} cannot be reached: {error}")
    finally:
        link.close()


def _credential(config: Config, link: Link) -> Finding:
    from gpufleet_agent.node import kept_node_id

    try:
        token = config.join_token()
    except ConfigError as error:
        return Finding("credential", "problem", str(error))
    enroller = Enroller(config.state_dir, kept_node_id(config.state_dir) or "", "", token)
    if enroller.credential is None:
        if enroller.trouble:
            mended = "; another is asked for" if enroller.can_ask else ", and there is no join token"
            return Finding("credential", "note" if enroller.can_ask else "problem", enroller.trouble + mended)
        if enroller.can_ask:
            return Finding("credential", "note", "not enrolled yet; there is a join token")
        return Finding("credential", "problem", "not enrolled, and there is no join token")
    # An empty report: the server looks at the credential first and only then at what came.
    headers = {
        "Authorization": f"Bearer {enroller.credential}",
        "Content-Type": CONTENT_TYPE,
        "Content-Encoding": ENCODING,
        CLOCK_HEADER: clock_header(read_clock()),
    }
    answer = link.post(REPORT_PATH, b"", headers)
    if answer.status in (401, 403):
        return Finding("credential", "problem", f"the server does not take it: {answer.problem}")
    return Finding("credential", "ok", "the server takes it")


def _by_reason(absent: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in absent.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def _print(finding: Finding) -> None:
    print(f"{finding.level:8}{finding.subject}: {finding.text}")
    for reason, names in finding.absent.items():
        print(f"          {reason}: {', '.join(names)}")
