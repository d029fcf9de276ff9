"""What to do about an XID: NVIDIA's catalogue, what others say otherwise, and changes of one's own."""

import csv
import enum
import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import msgspec
from gpufleet_agent.xids import xid_text

from gpufleet_server.domain.alerting import Severity


class Action(enum.StrEnum):
    """What to do, in classes."""

    RESTART_APP = "restart_app"
    RESET_GPU = "reset_gpu"
    REBOOT_NODE = "reboot_node"
    INSPECT = "inspect"
    UPDATE_SOFTWARE = "update_software"
    WORKFLOW = "workflow"
    CONTACT_SUPPORT = "contact_support"
    IGNORE = "ignore"
    UNKNOWN = "unknown"

    @property
    def text(self) -> str:
        """It as an advice."""
        return _TEXTS[self]


_TEXTS = {
    Action.RESTART_APP: "Restart the program.",
    Action.RESET_GPU: "Drain the GPU and reset it (nvidia-smi -r), or reboot the node.",
    Action.REBOOT_NODE: "Drain the node and reboot it; if that is of no use, power it off and on.",
    Action.INSPECT: "Look at the board: its power, cables, seat and cooling.",
    Action.UPDATE_SOFTWARE: "Bring driver, firmware and, on virtual machines, the host to versions that fit.",
    Action.WORKFLOW: "Follow NVIDIA's steps for this XID.",
    Action.CONTACT_SUPPORT: "Contact the vendor's support.",
    Action.IGNORE: "Nothing, if it is the only one.",
    Action.UNKNOWN: "NVIDIA's catalogue has no action for it yet.",
}
_SEVERITIES = {
    Action.RESTART_APP: Severity.INFO,
    Action.RESET_GPU: Severity.CRITICAL,
    Action.REBOOT_NODE: Severity.CRITICAL,
    Action.IGNORE: Severity.INFO,
}
# NVIDIA's words for the first action. BM is the bare metal; a virtual machine is a node of ours.
_ACTIONS = {
    "RESTART_APP": Action.RESTART_APP,
    "RESET_GPU": Action.RESET_GPU,
    "RESTART_BM": Action.REBOOT_NODE,
    "RESTART_VM": Action.REBOOT_NODE,
    "CHECK_MECHANICALS": Action.INSPECT,
    "UPDATE_SWFW": Action.UPDATE_SOFTWARE,
    "CONTACT_SUPPORT": Action.CONTACT_SUPPORT,
    "IGNORE": Action.IGNORE,
    "": Action.UNKNOWN,
}
# And for what to do if it comes again.
_THEN = {
    "CONTACT_SUPPORT": "contact the vendor's support",
    "CHECK_APP/CUDA": "look for the fault in the program and its CUDA libraries",
    "INVESTIGATE_SW": "look for the fault in software: driver, firmware, program",
    "INVESTIGATE_SW_USER": "look for the fault in the user's software",
    "INVESTIGATE_LINK_SI": "look at the links' signal integrity: cables, connectors, boards",
    "UPDATE_SWFW": "bring driver and firmware to versions that fit",
    "XID_137_FLOW": "follow NVIDIA's steps for XID 137",
    "IGNORE": "nothing",
    "IGNORE (sympathetic)": "nothing: it goes with another XID",
    "SYMPATHETIC_REPORT_SOLO": "nothing if it goes with another XID; alone, contact the vendor's support",
    "Solo: RESTART_FM Not Solo: IGNORE (follow other Xid)": "alone, restart Fabric Manager; else follow the other XID",
    "N/A Informational only regarding another Xid": "nothing: it tells of another XID",
    "": "",
}


@dataclass(frozen=True, slots=True)
class Opinion:
    """What somebody else does about a code."""

    source: str
    says: str


@dataclass(frozen=True, slots=True)
class Xid:
    """A code. `nvidia` and `nvidia_then` are the catalogue's own words; `then` is what to do if it comes again.

    `in_use`: current drivers report it. `why`: the reason, where action or severity are not the catalogue's.
    """

    code: int
    mnemonic: str
    meaning: str
    in_use: bool
    action: Action
    severity: Severity
    then: str = ""
    nvidia: str = ""
    nvidia_then: str = ""
    opinions: tuple[Opinion, ...] = ()
    why: str = ""


class XidsError(Exception):
    """A file of changes can't be used; the text says why."""


class _Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: Action | None = None
    severity: Severity | None = None
    meaning: str | None = None
    why: str = ""


class _Opinions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    codes: list[int]
    source: str
    says: str


class _Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    xid: dict[int, _Change] = {}
    opinion: list[_Opinions] = []


@dataclass(frozen=True, slots=True)
class Table:
    """All known codes."""

    xids: Mapping[int, Xid]

    def get(self, code: int) -> Xid | None:
        """What is known of a code."""
        return self.xids.get(code)

    def codes(self, *actions: Action, severity: Severity | None = None) -> list[int]:
        """The codes of some classes of action, and of a severity where one is given."""
        found = (each for each in self.xids.values() if each.action in actions)
        return sorted(each.code for each in found if severity is None or each.severity is severity)

    def changed(self, path: Path) -> "Table":
        """This table with the changes in a file of one's own; codes that are new are added. XidsError."""
        try:
            return _changed(self, _changes(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise XidsError(f"can't read {path}: {error.strerror}") from error
        except (XidsError, UnicodeDecodeError) as error:
            raise XidsError(f"{path}: {error}") from error


@functools.cache
def catalogue() -> Table:
    """NVIDIA's catalogue with this project's additions."""
    return _changed(Table({each.code: each for each in _rows()}), _changes(_packaged("xids.toml")))


def _rows() -> Iterator[Xid]:
    lines = (line for line in _packaged("xid_catalogue.csv").splitlines() if not line.startswith("#"))
    for row in csv.DictReader(lines):
        code, action = int(row["code"]), _action(row["immediate_action"])
        yield Xid(
            code=code,
            mnemonic=row["mnemonic"],
            meaning=_meaning(code),
            in_use=row["in_use"] == "yes",
            action=action,
            severity=_severity(action),
            then=_then(row["investigatory_action"]),
            nvidia=row["immediate_action"],
            nvidia_then=row["investigatory_action"],
        )


def _action(word: str) -> Action:
    # The rest are names of workflows: WORKFLOW_XID_48, XID_154, CHECK_UVM.
    return _ACTIONS.get(word, Action.WORKFLOW)


def _severity(action: Action) -> Severity:
    return _SEVERITIES.get(action, Severity.WARNING)


def _then(word: str) -> str:
    return _THEN.get(word, "follow NVIDIA's steps for this XID")


def _meaning(code: int) -> str:
    text = xid_text(code)
    return "" if text == f"XID {code}" else text


def _changed(table: Table, changes: _Changes) -> Table:
    xids = dict(table.xids)
    for code, change in changes.xid.items():
        xids[code] = _with(xids.get(code), code, change)
    for each in changes.opinion:
        for code in each.codes:
            if code not in xids:
                raise XidsError(f"opinion of {each.source}: there is no XID {code}")
            opinions = (*xids[code].opinions, Opinion(each.source, each.says))
            xids[code] = replace(xids[code], opinions=opinions)
    return Table(dict(sorted(xids.items())))


def _with(known: Xid | None, code: int, change: _Change) -> Xid:
    if known is None:
        if change.action is None:
            raise XidsError(f"xid.{code}: it is in no table: give its action")
        known = Xid(code, f"XID_{code}", "", True, change.action, _severity(change.action))
    action = change.action or known.action
    severity = change.severity or (known.severity if action is known.action else _severity(action))
    return replace(
        known,
        action=action,
        severity=severity,
        meaning=known.meaning if change.meaning is None else change.meaning,
        why=change.why or known.why,
    )


def _changes(text: str) -> _Changes:
    try:
        # Keys of TOML are text.
        return msgspec.convert(tomllib.loads(text), _Changes, strict=False)
    except tomllib.TOMLDecodeError as error:
        raise XidsError(f"is no TOML: {error}") from error
    except msgspec.ValidationError as error:
        said, _, place = str(error).partition(" - at `$.")
        raise XidsError(f"{place.rstrip('`')}: {said}" if place else said) from error


def _packaged(name: str) -> str:
    return resources.files("gpufleet_server.domain").joinpath(name).read_text(encoding="utf-8")


def parse_codes(texts: Sequence[str]) -> list[int]:
    """Codes as people write them: `79`, `xid79`, `XID 79`. ValueError names one that is none."""
    found = []
    for text in texts:
        digits = text.strip().lower().removeprefix("xid").strip(" :#")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise ValueError(f"{text!r} is no XID: a number such as 79")
        found.append(int(digits))
    return found
