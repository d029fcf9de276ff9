"""What the driver writes into the kernel's log: records of /dev/kmsg, and the XIDs and SXIDs in them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

# Domain, bus and device: what names a board in the log, whatever it is punctuated like.
Address = tuple[int, int, int]
Detail = dict[str, int | float | bool | str | None]

# NVRM: Xid (PCI:0000:3b:00): 79, pid=1234, name=python, GPU has fallen off the bus.
# NVRM: Xid (PCI:0000:c1:00 GPU-I:05): 31, …   of a partition
# NVRM: Xid (0000:03:00): 13, 0001 00000000 …   before driver 346
_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9A-Fa-f:.]+)(?: GPU-I:(\w+))?[^)]*\): (\d+)(?:,\s*(.*))?", re.DOTALL)
# nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore MCTO (First)
_SXID = re.compile(r"(nvidia-nvswitch\d*): SXid \((?:PCI:)?([0-9A-Fa-f:.]+)\): (\d+)(?:,\s*(.*))?", re.DOTALL)
# What follows an SXID with the same number, and is none of its own.
_MORE_OF_SXID = re.compile(r"(Severity \d|Data ?\{)")
_PID = re.compile(r"\bpid='?(\d+)")
_NAME = re.compile(r"\bname='?([^,'<][^,']*)")
# Both, and what parts them from what follows.
_PROCESS = re.compile(r"\b(?:pid|name)=[^,]*(?:,\s*)?")
_LINK = re.compile(r"\bLink (\d+)")
_CODE_LIMIT = 1 << 31


@dataclass(frozen=True, slots=True)
class Line:
    """A record of the log: its number, when it was written (µs of the kernel's clock), by whom, and its text."""

    number: int
    at: int
    is_kernels: bool
    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """An XID or SXID as the log tells it. `address` names the board, or the switch; None where it names none."""

    kind: str
    code: int
    address: Address | None
    text: str
    detail: Detail = field(default_factory=dict)


def read_line(data: bytes) -> Line | None:
    """A record `priority,number,time,flags;text`; None for what is none, such as a line that goes on from before."""
    head, mark, rest = data.partition(b";")
    parts = head.split(b",")
    if not mark or len(parts) < 3 or not all(part.isdigit() for part in parts[:3]):
        return None
    text = rest.split(b"\n", 1)[0].decode(errors="replace").replace("\0", "")
    return Line(int(parts[1]), int(parts[2]), int(parts[0]) < 8, text)


def find_fault(text: str) -> Fault | None:
    """The XID or SXID that a line tells."""
    if "Xid" not in text:
        return None
    if found := _XID.search(text):
        address, instance, code, said = found.groups()
        return _fault("xid", code, address, said or "", _of_xid(said or "", instance))
    if (found := _SXID.search(text)) and not _MORE_OF_SXID.match(found[4] or ""):
        switch, address, code, said = found.groups()
        return _fault("sxid", code, address, said or "", _of_sxid(said or "", switch))
    return None


def without_process(fault: Fault) -> Fault:
    """The fault without the process that the driver names in it."""
    detail = {name: value for name, value in fault.detail.items() if name not in ("pid", "name")}
    return replace(fault, text=_PROCESS.sub("", fault.text), detail=detail)


def read_address(text: str) -> Address | None:
    """An address such as 0000:3b:00, 00000000:3B:00.0 or, of old, 3b:00."""
    parts = text.partition(".")[0].split(":")
    try:
        numbers = [int(part, 16) for part in parts]
    except ValueError:
        return None
    if len(numbers) == 2:
        numbers.insert(0, 0)
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def _fault(kind: str, code: str, address: str, said: str, detail: Detail) -> Fault | None:
    if int(code) >= _CODE_LIMIT:
        return None
    return Fault(kind, int(code), read_address(address), said.strip(), {"pci_address": address, **detail})


def _of_xid(said: str, instance: str | None) -> Detail:
    detail: Detail = {}
    if instance is not None:
        detail["gpu_instance"] = instance
    if pid := _PID.search(said):
        detail["pid"] = int(pid[1][:18])
    if name := _NAME.search(said):
        detail["name"] = name[1].strip()[:256]
    return detail


def _of_sxid(said: str, switch: str) -> Detail:
    detail: Detail = {"switch": switch}
    severity = said.partition(",")[0].strip().lower().replace("-", "")
    if severity in ("fatal", "nonfatal"):
        detail["fatal"] = severity == "fatal"
    if link := _LINK.search(said):
        detail["link"] = int(link[1][:9])
    return detail
