"""Host facts and the node's id, from a recorded tree of files."""

from pathlib import Path

import pytest
from gpufleet_agent.backends.backend import DriverFacts
from gpufleet_agent.config import Config
from gpufleet_agent.host import product_uuid, read_host
from gpufleet_agent.node import derive, node_id

TREE = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "sys/class/dmi/id/sys_vendor": "Acme\n",
    "sys/class/dmi/id/product_name": "GPU Server 8\n",
    "sys/class/dmi/id/product_serial": "SN-4711\n",
    "sys/class/dmi/id/product_uuid": "4c4c4544-0051\n",
    "etc/os-release": 'NAME="Example Linux"\nPRETTY_NAME="Example Linux 9.4 (Teal)"\n',
    "proc/cpuinfo": "".join(
        f"processor\t: {n}\nmodel name\t: Example CPU 9000\nphysical id\t: {n // 2}\n\n" for n in range(4)
    ),
    "sys/module/nvidia/version": "570.2\n",
    "proc/meminfo": "MemTotal:       2113661568 kB\nMemFree:        17 kB\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root folder with a recorded machine."""
    for name, text in TREE.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "root"


def test_facts_are_read(root: Path) -> None:
    """Every fact comes from its own file, the driver's from its session, the place from the settings."""
    config = Config(name="gpu-17", site="fra1", rack="r9", labels={"team": "ml"})
    facts = DriverFacts("570.1", "12.570", None, {"cuda_version": "failed"}, "running", "570.3")
    host = read_host(config, facts, root)
    assert (host.hostname, host.site, host.room, host.rack, host.labels) == (
        "gpu-17",
        "fra1",
        None,
        "r9",
        {"team": "ml"},
    )
    assert (host.dmi_vendor, host.dmi_product, host.dmi_serial) == ("Acme", "GPU Server 8", "SN-4711")
    assert (host.os, host.cpu_model, host.cpu_sockets, host.cpu_threads) == (
        "Example Linux 9.4 (Teal)",
        "Example CPU 9000",
        2,
        4,
    )
    assert host.memory_total == 2113661568 * 1024
    assert (host.driver_version, host.nvml_version, host.cuda_version) == ("570.1", "12.570", None)
    assert (host.kernel_module_version, host.fabric_manager, host.fabric_manager_version) == (
        "570.2",
        "running",
        "570.3",
    )
    assert host.absent == {"cuda_version": "failed"}


def test_control_characters_of_firmware_are_left_out(root: Path) -> None:
    """A device tree ends its texts with a NUL, and some board makers fill theirs with worse."""
    (root / "sys/class/dmi/id/product_serial").unlink()
    tree = root / "proc/device-tree/serial-number"
    tree.parent.mkdir()
    tree.write_bytes(b"SN-1\x1b[31m\xff\0")
    (root / "sys/class/dmi/id/product_name").write_bytes(b"\0\0\n")
    host = read_host(Config(), None, root)
    assert (host.dmi_serial, host.dmi_product) == ("SN-1[31m\ufffd", None)


def test_what_is_not_there_is_absent_with_a_reason(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file: unsupported. Root only: no permission. A board maker's placeholder: implausible."""
    (root / "sys/class/dmi/id/sys_vendor").write_text("To Be Filled By O.E.M.\n")
    (root / "sys/class/dmi/id/product_name").unlink()
    (root / "proc/cpuinfo").unlink()

    def forbidden(self: Path, **options: str) -> str:
        if self.name == "product_serial":
            raise PermissionError
        return self.read_bytes().decode()

    monkeypatch.setattr(Path, "read_text", forbidden)
    host = read_host(Config(), None, root)
    assert (host.dmi_vendor, host.dmi_product, host.dmi_serial, host.cpu_threads) == (None, None, None, None)
    assert host.absent["dmi_vendor"] == "implausible"
    assert host.absent["dmi_product"] == "unsupported"
    assert host.absent["dmi_serial"] == "no permission"
    assert host.absent["cpu_model"] == "unsupported"


def test_the_node_id_is_kept_once_chosen(root: Path, tmp_path: Path) -> None:
    """It comes of the machine-id and stays when that changes; the hostname plays no part."""
    host = read_host(Config(name="one"), None, root)
    first = node_id(tmp_path, host, product_uuid(root))
    assert derive(read_host(Config(name="two"), None, root), None) == ("machine-id", first)
    (root / "etc/machine-id").write_text("f" * 32)
    assert node_id(tmp_path, read_host(Config(), None, root), None) == first


def test_without_a_machine_id_the_firmware_names_the_node(root: Path) -> None:
    """Product uuid, then serial, and only then chance."""
    (root / "etc/machine-id").unlink()
    host = read_host(Config(), None, root)
    assert derive(host, "4c4c4544-0051")[0] == "product uuid"
    assert derive(host, None)[0] == "serial"
    (root / "sys/class/dmi/id/product_serial").unlink()
    bare = read_host(Config(), None, root)
    assert derive(bare, None)[0] == "random"
    assert derive(bare, None) != derive(bare, None)


def test_a_random_id_must_be_kept(root: Path, tmp_path: Path) -> None:
    """An id that would change with every start is refused; one that can be made again is not."""
    nowhere = tmp_path / "file"
    nowhere.touch()
    assert node_id(nowhere, read_host(Config(), None, root), None)
    bare = read_host(Config(), None, tmp_path / "empty")
    with pytest.raises(OSError, match="Not a directory"):
        node_id(nowhere, bare, None)


def test_a_module_is_known_while_the_driver_is_not(root: Path) -> None:
    """As when the library does not fit it: that says which of them is to be changed."""
    host = read_host(Config(), None, root)
    assert (host.kernel_module_version, host.driver_version, host.fabric_manager) == ("570.2", None, None)
    assert host.absent["driver_version"] == host.absent["fabric_manager"] == "failed"
