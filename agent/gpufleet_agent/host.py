"""Facts of this host, read from files: what it is made of and what runs on it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from gpufleet_agent import __version__
from gpufleet_agent.backends.backend import DriverFacts
from gpufleet_agent.backends.nvidia.kernel_module import module_version
from gpufleet_agent.config import Config
from gpufleet_agent.wire import Host

_OF_DRIVER = ("driver_version", "nvml_version", "cuda_version", "fabric_manager", "fabric_manager_version")
_DMI = "sys/class/dmi/id"
# What board makers leave in place of a value.
_PLACEHOLDERS = re.compile(
    r"^(|none|n/?a|0+|unknown|not (specified|applicable|available)|default string|system (serial number|product name"
    r"|manufacturer)|to be filled by o\.?e\.?m\.?|chassis serial number|0?1234567890?|[.x]+|uninitialized"
    r"|03000200-0400-0500-0006-000700080009)$",
    re.IGNORECASE,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class HostFiles:
    """Reads facts below a root folder; notes why one is absent."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self.absent: dict[str, str] = {}

    def _read(self, path: str) -> str:
        # Firmware ends its texts with a NUL, or fills them up with what no screen can show.
        found = (self._root / path).read_text(errors="replace")
        return _CONTROLS.sub("", found)

    def text(self, field: str, *paths: str) -> str | None:
        """The first of these files that holds something, else None with a reason noted for `field`."""
        reason = "unsupported"
        for path in paths:
            try:
                found = self._read(path).strip()[:256]
            except PermissionError:
                reason = "no permission"
            except OSError:
                continue
            else:
                if not _PLACEHOLDERS.match(found):
                    return found
                reason = "implausible"
        self.absent[field] = reason
        return None

    def table(self, path: str, separator: str) -> dict[str, str]:
        """The file's `key<separator>value` lines; the first value of a key counts. Empty where it is not there."""
        try:
            lines = self._read(path).splitlines()
        except OSError:
            return {}
        found: dict[str, str] = {}
        for line in lines:
            key, mark, value = line.partition(separator)
            if mark:
                found.setdefault(key.strip(), value.strip().strip('"'))
        return found

    def cpus(self) -> tuple[str | None, int | None, int | None]:
        """Model, sockets and hardware threads."""
        try:
            lines = self._read("proc/cpuinfo").splitlines()
        except OSError:
            lines = []
        values: dict[str, list[str]] = {}
        for line in lines:
            key, _, value = line.partition(":")
            values.setdefault(key.strip(), []).append(value.strip())
        model = next(iter(values.get("model name") or values.get("cpu model") or ()), None)
        sockets = len(set(values.get("physical id", ()))) or None
        threads = len(values.get("processor", ())) or None
        self._note(cpu_model=model, cpu_sockets=sockets, cpu_threads=threads)
        return model, sockets, threads

    def memory(self) -> int | None:
        """Bytes of memory the kernel has."""
        total = self.table("proc/meminfo", ":").get("MemTotal", "").removesuffix(" kB")
        size = int(total) * 1024 if total.isdigit() else None
        self._note(memory_total=size)
        return size

    def system(self) -> str | None:
        """The name of the operating system."""
        release = self.table("etc/os-release", "=") or self.table("usr/lib/os-release", "=")
        name = release.get("PRETTY_NAME") or release.get("NAME")
        self._note(os=name)
        return name

    def kernel_module(self) -> str | None:
        """The version of the driver's kernel module that is loaded."""
        version = module_version(self._root)
        self._note(kernel_module_version=version)
        return version

    def _note(self, **values: object) -> None:
        self.absent.update({field: "unsupported" for field, value in values.items() if value is None})


def product_uuid(root: Path = Path("/")) -> str | None:
    """The firmware's name of this machine (root only on most systems)."""
    return HostFiles(root).text("product_uuid", f"{_DMI}/product_uuid")


def read_host(config: Config, facts: DriverFacts | None = None, root: Path = Path("/")) -> Host:
    """All facts of this host, with those of its driver if it is open."""
    files, system = HostFiles(root), os.uname()
    model, sockets, threads = files.cpus()
    return Host(
        hostname=(config.name or system.nodename)[:256],
        agent_version=__version__,
        machine_id=files.text("machine_id", "etc/machine-id", "var/lib/dbus/machine-id"),
        dmi_vendor=files.text("dmi_vendor", f"{_DMI}/sys_vendor"),
        dmi_product=files.text("dmi_product", f"{_DMI}/product_name"),
        dmi_serial=files.text("dmi_serial", f"{_DMI}/product_serial", "proc/device-tree/serial-number"),
        os=files.system(),
        kernel=system.release[:256],
        architecture=system.machine[:256],
        cpu_model=model,
        cpu_sockets=sockets,
        cpu_threads=threads,
        memory_total=files.memory(),
        driver_version=facts.driver_version if facts else None,
        nvml_version=facts.nvml_version if facts else None,
        cuda_version=facts.cuda_version if facts else None,
        kernel_module_version=files.kernel_module(),
        fabric_manager=facts.fabric_manager if facts else None,
        fabric_manager_version=facts.fabric_manager_version if facts else None,
        site=config.site,
        room=config.room,
        rack=config.rack,
        attribution=attribution(config),
        labels=config.labels,
        absent={**files.absent, **_driver_absent(facts)},
    )


def attribution(config: Config) -> Literal["off", "numbers", "names"]:
    """What the server is told of the users of GPUs."""
    if not config.usage:
        return "off"
    return "names" if config.user_names else "numbers"


def _driver_absent(facts: DriverFacts | None) -> dict[str, str]:
    if facts is None:
        return dict.fromkeys(_OF_DRIVER, "failed")
    return facts.absent
