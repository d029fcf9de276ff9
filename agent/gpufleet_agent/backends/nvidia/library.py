"""NVML itself: opening it, finding its functions, and what its return codes mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml

from gpufleet_agent.backends.backend import DriverAbsent, DriverGone, Reading
from gpufleet_agent.backends.nvidia.kernel_module import module_version
from gpufleet_agent.catalogue import Reason

# pynvml is untyped, and older versions lack names that newer ones have: it is only ever asked by name.
nvml: Any = pynvml
Handle = Any

INVALID_ARGUMENT, NO_PERMISSION, NOT_FOUND, INSUFFICIENT_SIZE, TIMEOUT = 2, 4, 6, 7, 10
DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND, GPU_IS_LOST, LIBRARY_MISMATCH = 9, 12, 13, 15, 18
_ENDED = frozenset({1, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, LIBRARY_MISMATCH})
# Not supported, function not found, vGPU without ECC, version of a struct unknown, deprecated.
_REASONS = dict.fromkeys((3, FUNCTION_NOT_FOUND, 22, 25, 26), Reason.UNSUPPORTED) | {
    NO_PERMISSION: Reason.NO_PERMISSION
}
# Reasons that do not go away while the driver stays loaded: who gave them is not asked again.
LASTING = frozenset({Reason.UNSUPPORTED, Reason.NO_PERMISSION})

_LIBRARY = re.compile(r"/libnvidia-ml\.so\.(\d+\.[\d.]*\d)\b")
_ABSENT = {
    LIBRARY_NOT_FOUND: "libnvidia-ml.so.1 was not found: no NVIDIA driver is installed here, or this container was "
    "started without the NVIDIA runtime",
    DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded (see `lsmod | grep nvidia` and `dmesg`)",
    NO_PERMISSION: "no permission to open the NVIDIA driver: may this user read and write /dev/nvidiactl?",
    FUNCTION_NOT_FOUND: "libnvidia-ml.so.1 is too old: it has no nvmlInitWithFlags (driver 390 or newer has)",
}


class GpuLost(Exception):
    """The driver says that this GPU has fallen off the bus."""


class NotThere(Reading):
    """The driver says that it has nothing of that number."""

    def __init__(self) -> None:
        super().__init__(Reason.FAILED)


def open_library() -> None:
    """Load and initialise NVML. DriverAbsent says why that fails, DriverGone that it does not fit the kernel module."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value == LIBRARY_MISMATCH:
            raise DriverGone(_mismatch()) from None
        raise DriverAbsent(_ABSENT.get(error.value, f"the NVIDIA driver does not start: {error}")) from None


def _mismatch(root: Path = Path("/")) -> str:
    versions = {"library": mapped_library(root), "loaded kernel module": module_version(root)}
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return (
        f"the versions of the NVIDIA library and kernel driver do not match{told and f' ({told})'}: "
        "the driver was updated but not reloaded; a reboot mends it"
    )


def mapped_library(root: Path = Path("/")) -> str | None:
    """The version of the library that this process has loaded, which its file bears in its name."""
    try:
        found = _LIBRARY.search((root / "proc/self/maps").read_text(errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def close_library() -> None:
    """Let go of NVML; one that is already gone is no error."""
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return


def failure(code: int, argued: bool = False) -> Exception:
    """The exception for a return code; where the call was `argued`, a bad argument is one unknown to this driver."""
    if code in _ENDED:
        return DriverGone(f"NVML answers with error {code}: the driver was unloaded or replaced")
    if code == GPU_IS_LOST:
        return GpuLost()
    if code == NOT_FOUND:
        return NotThere()
    if argued and code == INVALID_ARGUMENT:
        return Reading(Reason.UNSUPPORTED)
    return Reading(_REASONS.get(code, Reason.FAILED))


def function(name: str) -> Callable[..., int]:
    """NVML's C function of this name, for calls too frequent for pynvml's wrappers. Reading where it has none."""
    try:
        found: Callable[..., int] = nvml.nvmlLib[name]
    except AttributeError:
        raise Reading(Reason.UNSUPPORTED) from None
    return found


def ask(getter: str, *arguments: Any) -> Any:
    """What pynvml's getter of this name answers. Reading, GpuLost or DriverGone where it does not."""
    call = getattr(nvml, getter, None)
    if call is None:
        raise Reading(Reason.UNSUPPORTED)
    try:
        return call(*arguments)
    except nvml.NVMLError as error:
        raise failure(error.value, argued=len(arguments) > 1) from None
    except nvml.NVMLLibraryMismatchError:
        raise Reading(Reason.UNSUPPORTED) from None
    except UnicodeDecodeError:
        raise Reading(Reason.IMPLAUSIBLE) from None
