"""What NVIDIA's DCGM exporter publishes: its rows and its dashboards' queries.

From github.com/NVIDIA/dcgm-exporter (Apache-2.0), as they were before 4.9 gave most fields new names and units:
etc/default-counters.csv of 4.8.3 with what the notes of 4.8.4 add; grafana/dcgm-exporter-dashboard.json, which is
dashboard 12239 of grafana.com; and the rework of it that pull request 355 proposes, which asks by `Hostname` and
GPU instance.
"""

from dataclasses import dataclass

# Rows that are on unless told otherwise, and those that stand there commented out: name → Prometheus type.
DEFAULT = {
    "DCGM_FI_DEV_SM_CLOCK": "gauge",
    "DCGM_FI_DEV_MEM_CLOCK": "gauge",
    "DCGM_FI_DEV_MEMORY_TEMP": "gauge",
    "DCGM_FI_DEV_GPU_TEMP": "gauge",
    "DCGM_FI_DEV_POWER_USAGE": "gauge",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "counter",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": "counter",
    "DCGM_FI_DEV_GPU_UTIL": "gauge",
    "DCGM_FI_DEV_MEM_COPY_UTIL": "gauge",
    "DCGM_FI_DEV_ENC_UTIL": "gauge",
    "DCGM_FI_DEV_DEC_UTIL": "gauge",
    "DCGM_FI_DEV_XID_ERRORS": "gauge",
    "DCGM_FI_DEV_FB_FREE": "gauge",
    "DCGM_FI_DEV_FB_USED": "gauge",
    "DCGM_FI_DEV_FB_RESERVED": "gauge",
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL": "gauge",
    "DCGM_FI_DEV_VGPU_LICENSE_STATUS": "gauge",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": "counter",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": "counter",
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": "gauge",
    "DCGM_FI_DRIVER_VERSION": "label",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": "gauge",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": "gauge",
    "DCGM_FI_PROF_DRAM_ACTIVE": "gauge",
    "DCGM_FI_PROF_PCIE_TX_BYTES": "gauge",
    "DCGM_FI_PROF_PCIE_RX_BYTES": "gauge",
}
OPTIONAL = {
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": "gauge",
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": "gauge",
    "DCGM_FI_DEV_POWER_VIOLATION": "counter",
    "DCGM_FI_DEV_THERMAL_VIOLATION": "counter",
    "DCGM_FI_DEV_SYNC_BOOST_VIOLATION": "counter",
    "DCGM_FI_DEV_BOARD_LIMIT_VIOLATION": "counter",
    "DCGM_FI_DEV_LOW_UTIL_VIOLATION": "counter",
    "DCGM_FI_DEV_RELIABILITY_VIOLATION": "counter",
    "DCGM_EXP_CLOCK_EVENTS_COUNT": "gauge",
    "DCGM_EXP_CLOCK_EVENTS_TOTAL": "counter",
    "DCGM_EXP_XID_ERRORS_COUNT": "gauge",
    "DCGM_EXP_XID_ERRORS_TOTAL": "counter",
    "DCGM_EXP_GPU_HEALTH_STATUS": "gauge",
    "DCGM_EXP_P2P_STATUS": "gauge",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": "counter",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "counter",
    "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL": "counter",
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": "counter",
    "DCGM_FI_DEV_RETIRED_SBE": "counter",
    "DCGM_FI_DEV_RETIRED_DBE": "counter",
    "DCGM_FI_DEV_RETIRED_PENDING": "counter",
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": "counter",
    "DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL": "counter",
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL": "counter",
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL": "counter",
    "DCGM_FI_DEV_NVLINK_BANDWIDTH_L0": "counter",
    "DCGM_FI_DEV_FABRIC_HEALTH_SUMMARY": "gauge",
    "DCGM_FI_DEV_FABRIC_HEALTH_MASK": "gauge",
    "DCGM_FI_PROF_SM_ACTIVE": "gauge",
    "DCGM_FI_PROF_SM_OCCUPANCY": "gauge",
    "DCGM_FI_PROF_PIPE_FP64_ACTIVE": "gauge",
    "DCGM_FI_PROF_PIPE_FP32_ACTIVE": "gauge",
    "DCGM_FI_PROF_PIPE_FP16_ACTIVE": "gauge",
    "DCGM_FI_PROF_SM_CYCLES_ELAPSED_TOTAL": "counter",
    "DCGM_FI_PROF_SM_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_MMA_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_DMMA_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_HMMA_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_IMMA_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_DFMA_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_PCIE_TX_BYTES_TOTAL": "counter",
    "DCGM_FI_PROF_PCIE_RX_BYTES_TOTAL": "counter",
    "DCGM_FI_PROF_INT_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_FP64_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_FP32_CYCLES_ACTIVE_TOTAL": "counter",
    "DCGM_FI_PROF_FP16_CYCLES_ACTIVE_TOTAL": "counter",
}
# Labels of every series of a GPU, in the exporter's order; the host's name has a capital letter up to 4.8.2.
LABELS = ["gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname", "hostname", "DCGM_FI_DRIVER_VERSION"]


@dataclass(frozen=True)
class Panel:
    """A panel: its only query, the unit in which Grafana shows what comes back, and whether it asks for one moment."""

    title: str
    query: str
    unit: str
    is_instant: bool = False


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; `variables` maps each to the metric and the label whose values it offers, all of them chosen."""

    name: str
    variables: dict[str, tuple[str, str]]
    panels: tuple[Panel, ...]


_CHOICE, _HOST = '{instance=~"$instance", gpu=~"$gpu"}', '{Hostname=~"$Hostname", gpu=~"$gpu"}'
_PARTS = "by (Hostname, gpu, GPU_I_ID, GPU_I_PROFILE)"
DASHBOARDS = (
    Dashboard(
        "grafana/dcgm-exporter-dashboard.json (12239)",
        {"instance": ("DCGM_FI_DEV_GPU_TEMP", "instance"), "gpu": ("DCGM_FI_DEV_GPU_TEMP", "gpu")},
        (
            Panel("GPU Temperature", f"DCGM_FI_DEV_GPU_TEMP{_CHOICE}", "celsius"),
            Panel("GPU Avg. Temp", f"avg(DCGM_FI_DEV_GPU_TEMP{_CHOICE})", "celsius"),
            Panel("GPU Power Usage", f"DCGM_FI_DEV_POWER_USAGE{_CHOICE}", "watt"),
            Panel("GPU Power Total", f"sum(DCGM_FI_DEV_POWER_USAGE{_CHOICE})", "watt", is_instant=True),
            Panel("GPU SM Clocks", f"DCGM_FI_DEV_SM_CLOCK{_CHOICE} * 1000000", "hertz"),
            Panel("GPU Utilization", f"DCGM_FI_DEV_GPU_UTIL{_CHOICE}", "percent"),
            Panel("GPU Framebuffer Mem Used", f"DCGM_FI_DEV_FB_USED{_CHOICE}", "decmbytes"),
            Panel("Tensor Core Utilization", f"DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{_CHOICE}", "percentunit"),
        ),
    ),
    Dashboard(
        "rework of pull request 355",
        {"Hostname": ("DCGM_FI_DEV_FB_FREE", "Hostname"), "gpu": ("DCGM_FI_DEV_FB_FREE", "gpu")},
        (
            Panel("GPU Temperature", f"max(DCGM_FI_DEV_GPU_TEMP{_HOST}) by (Hostname, gpu, uuid)", "celsius"),
            Panel("GPU Avg. Temp", f"avg(DCGM_FI_DEV_GPU_TEMP{_HOST})", "celsius"),
            Panel("GPU Power Usage", f"max(DCGM_FI_DEV_POWER_USAGE{_HOST}) by (Hostname, gpu, uuid)", "watt"),
            Panel("GPU Power Total", f"sum(max(DCGM_FI_DEV_POWER_USAGE{_HOST}) by (gpu))", "watt", is_instant=True),
            Panel("GPU SM Clocks", f"max(DCGM_FI_DEV_SM_CLOCK{_HOST} * 1000000) by (Hostname, UUID, gpu)", "hertz"),
            Panel("GPU Utilization", f"max(DCGM_FI_PROF_GR_ENGINE_ACTIVE{_HOST}) {_PARTS}", "percentunit"),
            Panel("Tensor Core Utilization", f"max(DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{_HOST}) {_PARTS}", "percentunit"),
            Panel("GPU Framebuffer Mem Used", f"max(DCGM_FI_DEV_FB_USED{_HOST}) {_PARTS}", "decmbytes"),
        ),
    ),
)
