"""What a node and its GPUs are: the identity part of a report. Every field may be absent, with a reason."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

# No database takes a NUL. `$` alone would let a line break pass at the end.
NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, Meta(max_length=256, pattern=NO_NUL)]
Identifier = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+(?!\n)$")]
Size = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Small = Annotated[int, Meta(ge=0, lt=1 << 31)]
Watts = Annotated[float, Meta(ge=0, lt=1e6)]
Celsius = Annotated[int, Meta(gt=-300, lt=1000)]
Labels = Annotated[dict[Identifier, Text], Meta(max_length=64)]
# Field -> reason (`unsupported`, `no permission`, `failed`, `implausible`) for each field that is None.
Absences = Annotated[dict[Identifier, Text], Meta(max_length=128)]


class Host(Struct, kw_only=True, omit_defaults=True):
    """Facts of a node. Sizes in bytes; labels are free text from the agent's configuration.

    `driver_version` is what the driver's library tells, `kernel_module_version` that of the kernel module that is
    loaded: where they do not match the library tells nothing. `kernel_log`: whether XIDs are read from there too.

    `attribution` is what the agent tells of who uses the GPUs: nothing, users by number, or users by name.
    """

    hostname: Text
    agent_version: Text
    machine_id: Text | None = None
    dmi_vendor: Text | None = None
    dmi_product: Text | None = None
    dmi_serial: Text | None = None
    os: Text | None = None
    kernel: Text | None = None
    architecture: Text | None = None
    cpu_model: Text | None = None
    cpu_sockets: Small | None = None
    cpu_threads: Small | None = None
    memory_total: Size | None = None
    driver_version: Text | None = None
    nvml_version: Text | None = None
    cuda_version: Text | None = None
    kernel_module_version: Text | None = None
    fabric_manager: Literal["running", "stopped"] | None = None
    fabric_manager_version: Text | None = None
    kernel_log: Literal["read", "off"] | None = None
    site: Text | None = None
    room: Text | None = None
    rack: Text | None = None
    attribution: Literal["off", "numbers", "names"] | None = None
    labels: Labels = {}
    absent: Absences = {}
    simulated: bool = False


class Partition(Struct, kw_only=True, omit_defaults=True):
    """A MIG device: a compute instance of a GPU instance. Memory in bytes, of the GPU instance.

    `slices` are the GPU instance's, `compute_slices` those of them that are its own. `share` says what a percentage of
    the partition counts for in one of its GPU: the GPU instance's slices as a share of all that the GPU can be cut
    into, divided between its compute instances by their size.
    """

    uuid: Identifier
    profile: Text | None = None
    gpu_instance: Small | None = None
    compute_instance: Small | None = None
    memory_total: Size | None = None
    multiprocessors: Small | None = None
    slices: Small | None = None
    compute_slices: Small | None = None
    share: Annotated[float, Meta(gt=0, le=1)] | None = None
    absent: Absences = {}


class Gpu(Struct, kw_only=True, omit_defaults=True):
    """One GPU as the driver shows it. Memory in bytes, power in W, clocks in MHz, temperatures in °C."""

    uuid: Identifier
    vendor: Text
    index: Small
    state: Literal["ok", "lost"] = "ok"
    serial: Text | None = None
    model: Text | None = None
    brand: Text | None = None
    architecture: Text | None = None
    compute_capability: Text | None = None
    board_part_number: Text | None = None
    board_id: Size | None = None
    vbios_version: Text | None = None
    inforom_image_version: Text | None = None
    inforom_oem_version: Text | None = None
    inforom_ecc_version: Text | None = None
    inforom_power_version: Text | None = None
    pci_address: Text | None = None
    pci_device_id: Text | None = None
    pci_subsystem_id: Text | None = None
    minor_number: Small | None = None
    numa_node: Annotated[int, Meta(ge=-1, lt=1 << 31)] | None = None
    module_id: Small | None = None
    chassis_serial: Text | None = None
    tray_index: Small | None = None
    slot_number: Small | None = None
    host_id: Small | None = None
    memory_total: Size | None = None
    bar1_total: Size | None = None
    cores: Small | None = None
    power_limit_default: Watts | None = None
    power_limit_min: Watts | None = None
    power_limit_max: Watts | None = None
    graphics_clock_max: Small | None = None
    sm_clock_max: Small | None = None
    memory_clock_max: Small | None = None
    video_clock_max: Small | None = None
    slowdown_temperature: Celsius | None = None
    shutdown_temperature: Celsius | None = None
    gpu_temperature_max: Celsius | None = None
    memory_temperature_max: Celsius | None = None
    ecc_mode: Text | None = None
    ecc_mode_pending: Text | None = None
    mig_mode: Text | None = None
    mig_mode_pending: Text | None = None
    persistence_mode: Text | None = None
    compute_mode: Text | None = None
    pcie_generation_max: Small | None = None
    pcie_width_max: Small | None = None
    nvlink_count: Small | None = None
    nvlink_version: Text | None = None
    fabric_cluster: Text | None = None
    fabric_clique: Small | None = None
    gsp_firmware_mode: Text | None = None
    gsp_firmware_version: Text | None = None
    partitions: Annotated[list[Partition], Meta(max_length=64)] = []
    absent: Absences = {}


class Roster(Struct, kw_only=True):
    """A node and all its GPUs: sent when the agent starts, when something in it changed, and when asked for."""

    host: Host
    gpus: Annotated[list[Gpu], Meta(max_length=1024)]
