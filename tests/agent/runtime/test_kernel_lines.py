"""XIDs and SXIDs in lines as drivers of many years have written them."""

from __future__ import annotations

import pytest
from gpufleet_agent.runtime.kernel_lines import Line, find_fault, read_address, read_line
from gpufleet_agent.wire import Event
from hypothesis import given
from hypothesis import strategies as st

BOARD = (0, 0x3B, 0)


@pytest.mark.parametrize(
    ("line", "code", "address", "detail"),
    [
        (
            "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            79,
            BOARD,
            {"pci_address": "0000:3b:00"},
        ),
        (
            "NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=python3, Ch 00000010, intr 00000000. MMU Fault",
            31,
            BOARD,
            {"pci_address": "0000:3b:00", "pid": 4711, "name": "python3"},
        ),
        (
            "NVRM: Xid (PCI:0000:3b:00 GPU-I:05): 94, pid=4711, name=a b, Contained: SM (0x1). RST: No, D-RST: No",
            94,
            BOARD,
            {"pci_address": "0000:3b:00", "gpu_instance": "05", "pid": 4711, "name": "a b"},
        ),
        (
            "NVRM: Xid (PCI:0018:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot)",
            154,
            (0x18, 1, 0),
            {"pci_address": "0018:01:00"},
        ),
        ("NVRM: Xid (PCI:0000:3b:00): 62, 0cb5(2d50) 00000000 00000000", 62, BOARD, {"pci_address": "0000:3b:00"}),
        ("NVRM: Xid (0000:3b:00): 13, 0001 00000000 0000a097 00001b0c", 13, BOARD, {"pci_address": "0000:3b:00"}),
        ("NVRM: Xid (3b:00): 8, Channel 0000001e", 8, BOARD, {"pci_address": "3b:00"}),
        ("NVRM: Xid (PCI:0000:3b:00): 119", 119, BOARD, {"pci_address": "0000:3b:00"}),
        ("[gpu-7] NVRM: Xid (PCI:nonsense): 45, x", None, None, {}),
        ("NVRM: GPU 0000:3b:00.0: RmInitAdapter failed! (0x62:0xffff:2381)", None, None, {}),
        (f"NVRM: Xid (PCI:0000:3b:00): {1 << 31}, x", None, None, {}),
    ],
)
def test_xids(line: str, code: int | None, address: object, detail: dict[str, object]) -> None:
    """With the board's address, the process where one is named, and the instance of a partition."""
    found = find_fault(line)
    if code is None:
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.code, found.address, found.detail) == ("xid", code, address, detail)
    assert line.endswith(found.text)


@pytest.mark.parametrize(
    ("line", "code", "detail"),
    [
        (
            "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Non-fatal, Link 46 MC TS crumbstore MCTO (First)",
            28006,
            {"switch": "nvidia-nvswitch3", "fatal": False, "link": 46},
        ),
        (
            "nvidia-nvswitch0: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
            20034,
            {"switch": "nvidia-nvswitch0", "fatal": True, "link": 30},
        ),
        (
            "nvidia-nvswitch: SXid (PCI:0000:c1:00.0): 10003, Host_priv_error",
            10003,
            {"switch": "nvidia-nvswitch"},
        ),
        ("nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Severity 0 Engine instance 46", None, {}),
        ("nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 28006, Data {0x00140004, 0x00100000}", None, {}),
    ],
)
def test_sxids(line: str, code: int | None, detail: dict[str, object]) -> None:
    """One a fault: the lines with its severity and data go with it."""
    found = find_fault(line)
    if code is None:
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.code, found.detail) == ("sxid", code, {"pci_address": "0000:c1:00.0", **detail})


def test_records() -> None:
    """Number, time and who wrote it; what belongs to a record before is none."""
    assert read_line(b"4,1234,5678901,-,caller=T17;NVRM: x; y\n SUBSYSTEM=pci\n") == Line(
        1234, 5678901, True, "NVRM: x; y"
    )
    written = read_line(b"12,9,8,-;by root")
    assert written is not None and not written.is_kernels
    assert [read_line(data) for data in (b" SUBSYSTEM=pci", b"", b"4,x,1,-;y", b"4,1;y")] == [None] * 4


def test_addresses_of_driver_and_log_are_the_same_board() -> None:
    """However they are punctuated."""
    assert read_address("00000000:3B:00.0") == read_address("0000:3b:00") == read_address("3b:00") == BOARD
    assert [read_address(text) for text in ("", "1", "a:b:c:d", "x:y")] == [None] * 4


@given(
    st.text(st.characters(codec="utf-8")),
    st.sampled_from(["NVRM: Xid (PCI:0000:3b:00): 7", "nvidia-nvswitch1: SXid (PCI:1): 5"]),
)
def test_whatever_follows_makes_an_event_that_can_be_sent(text: str, head: str) -> None:
    """A driver writes what it likes; nothing of it may be refused later."""
    found = find_fault(f"{head}, {text}".replace("\0", ""))
    if found is not None:
        event = Event(at=1, kind=found.kind, code=found.code, message=found.text[:2048], detail=found.detail)
        assert all(isinstance(value, bool | int) or len(str(value)) <= 256 for value in event.detail.values())
