/* SPDX-License-Identifier: Apache-2.0
 * Getters of one or two values: each row names the function and the scenario's field. */
#include <stdio.h>
#include "sim.h"

#define U32(fn, name) SIM_API int fn(device_h h, u32 *out) { return get_u32(#fn, h, name, out); }
#define U64(fn, name) SIM_API int fn(device_h h, u64 *out) { return get_u64(#fn, h, name, out); }
#define TEXT(fn, name) SIM_API int fn(device_h h, char *out, u32 n) { return get_text(#fn, h, name, out, n); }
#define PAIR(fn, one, two) SIM_API int fn(device_h h, u32 *a, u32 *b) { return get_pair(#fn, h, one, two, a, b); }
#define BY(fn, names) \
    SIM_API int fn(device_h h, u32 which, u32 *out) { \
        return which < sizeof names / sizeof *names ? get_u32(#fn, h, names[which], out) : INVALID_ARGUMENT; \
    }

TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetUUID, "uuid")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetBoardPartNumber, "board_part_number")
TEXT(nvmlDeviceGetVbiosVersion, "vbios_version")
TEXT(nvmlDeviceGetInforomImageVersion, "inforom.image")
U32(nvmlDeviceGetBrand, "brand")
U32(nvmlDeviceGetArchitecture, "architecture")
PAIR(nvmlDeviceGetCudaComputeCapability, "compute_major", "compute_minor")
U32(nvmlDeviceGetMinorNumber, "minor_number")
U32(nvmlDeviceGetBoardId, "board_id")
U32(nvmlDeviceGetModuleId, "module_id")
U32(nvmlDeviceGetMultiGpuBoard, "multi_gpu_board")
U32(nvmlDeviceGetNumaNodeId, "numa_node")
U32(nvmlDeviceGetNumGpuCores, "num_gpu_cores")
U32(nvmlDeviceGetMemoryBusWidth, "memory_bus_width")
U32(nvmlDeviceGetIrqNum, "irq_num")
U32(nvmlDeviceGetBusType, "bus_type")
U32(nvmlDeviceGetPowerSource, "power_source")

U32(nvmlDeviceGetComputeMode, "compute_mode")
U32(nvmlDeviceGetPersistenceMode, "persistence_mode")
U32(nvmlDeviceGetDisplayMode, "display_mode")
U32(nvmlDeviceGetDisplayActive, "display_active")
U32(nvmlDeviceGetDefaultEccMode, "ecc_mode.default")
PAIR(nvmlDeviceGetEccMode, "ecc_mode.current", "ecc_mode.pending")
PAIR(nvmlDeviceGetMigMode, "mig_mode.current", "mig_mode.pending")
PAIR(nvmlDeviceGetGspFirmwareMode, "gsp.enabled", "gsp.default")

SIM_API int nvmlDeviceGetGspFirmwareVersion(device_h h, char *out) {
    return get_text("nvmlDeviceGetGspFirmwareVersion", h, "gsp.version", out, 64);
}

U32(nvmlDeviceGetPowerManagementLimit, "power_limit_mw")
U32(nvmlDeviceGetPowerManagementDefaultLimit, "power_default_limit_mw")
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, "power_min_limit_mw", "power_max_limit_mw")
U32(nvmlDeviceGetEnforcedPowerLimit, "power_enforced_limit_mw")
U32(nvmlDeviceGetPowerUsage, "power_usage_mw")
U32(nvmlDeviceGetPowerManagementMode, "power_management_mode")
U64(nvmlDeviceGetTotalEnergyConsumption, "energy_mj")
U32(nvmlDeviceGetPerformanceState, "performance_state")
U32(nvmlDeviceGetPowerState, "performance_state")
U64(nvmlDeviceGetCurrentClocksEventReasons, "clocks_event_reasons")
U64(nvmlDeviceGetCurrentClocksThrottleReasons, "clocks_event_reasons")
U64(nvmlDeviceGetSupportedClocksEventReasons, "supported_clocks_event_reasons")
U64(nvmlDeviceGetSupportedClocksThrottleReasons, "supported_clocks_event_reasons")

PAIR(nvmlDeviceGetEncoderUtilization, "util.encoder", "util.encoder_period_us")
PAIR(nvmlDeviceGetDecoderUtilization, "util.decoder", "util.decoder_period_us")
PAIR(nvmlDeviceGetJpgUtilization, "util.jpg", "util.jpg_period_us")
PAIR(nvmlDeviceGetOfaUtilization, "util.ofa", "util.ofa_period_us")

U32(nvmlDeviceGetNumFans, "num_fans")
U32(nvmlDeviceGetFanSpeed, "fan_speed")

U32(nvmlDeviceGetCurrPcieLinkGeneration, "pcie.gen")
U32(nvmlDeviceGetCurrPcieLinkWidth, "pcie.width")
U32(nvmlDeviceGetMaxPcieLinkGeneration, "pcie.max_gen")
U32(nvmlDeviceGetMaxPcieLinkWidth, "pcie.max_width")
U32(nvmlDeviceGetGpuMaxPcieLinkGeneration, "pcie.gpu_max_gen")
U32(nvmlDeviceGetPcieReplayCounter, "pcie.replay")
U32(nvmlDeviceGetPcieSpeed, "pcie.speed_mbps")
U32(nvmlDeviceGetPcieLinkMaxSpeed, "pcie.max_speed")
U32(nvmlDeviceGetRetiredPagesPendingStatus, "retired.pending")
U32(nvmlDeviceGetMaxMigDeviceCount, "mig.max_count")
U64(nvmlDeviceGetSupportedEventTypes, "supported_event_types")

static const char *const CLOCKS[] = {"clock.graphics", "clock.sm", "clock.mem", "clock.video"};
static const char *const MAX_CLOCKS[] = {"max_clock.graphics", "max_clock.sm", "max_clock.mem", "max_clock.video"};
static const char *const APP_CLOCKS[] = {"app_clock.graphics", "app_clock.sm", "app_clock.mem", "app_clock.video"};
static const char *const DEFAULT_CLOCKS[] = {
    "default_app_clock.graphics", "default_app_clock.sm", "default_app_clock.mem", "default_app_clock.video"};
static const char *const PCIE[] = {"pcie.tx_kbps", "pcie.rx_kbps"};
static const char *const TEMPERATURES[] = {"temperature_c"};
static const char *const THRESHOLDS[] = {
    "threshold.shutdown", "threshold.slowdown", "threshold.mem_max", "threshold.gpu_max", "threshold.acoustic_min",
    "threshold.acoustic_curr", "threshold.acoustic_max", "threshold.gps_curr"};

BY(nvmlDeviceGetClockInfo, CLOCKS)
BY(nvmlDeviceGetMaxClockInfo, MAX_CLOCKS)
BY(nvmlDeviceGetApplicationsClock, APP_CLOCKS)
BY(nvmlDeviceGetDefaultApplicationsClock, DEFAULT_CLOCKS)
BY(nvmlDeviceGetPcieThroughput, PCIE)
BY(nvmlDeviceGetTemperature, TEMPERATURES)
BY(nvmlDeviceGetTemperatureThreshold, THRESHOLDS)

SIM_API int nvmlDeviceGetUtilizationRates(device_h h, utilization *out) {
    if (!out) return INVALID_ARGUMENT;
    return get_pair("nvmlDeviceGetUtilizationRates", h, "util.gpu", "util.memory", &out->gpu, &out->memory);
}

SIM_API int nvmlDeviceGetInforomVersion(device_h h, u32 object, char *out, u32 size) {
    static const char *const NAMES[] = {"inforom.oem", "inforom.ecc", "inforom.power", "inforom.den"};
    return object < 4 ? get_text("nvmlDeviceGetInforomVersion", h, NAMES[object], out, size) : INVALID_ARGUMENT;
}

SIM_API int nvmlDeviceGetTemperatureV(device_h h, temperature_v1 *out) {
    if (!out || out->sensor) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(1, temperature_v1)) return ARGUMENT_VERSION_MISMATCH;
    return get_u32("nvmlDeviceGetTemperatureV", h, "temperature_c", (u32 *)&out->temperature);
}

SIM_API int nvmlDeviceGetMarginTemperature(device_h h, margin_temperature *out) {
    if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(1, margin_temperature)) return ARGUMENT_VERSION_MISMATCH;
    return get_u32("nvmlDeviceGetMarginTemperature", h, "margin_temperature_c", (u32 *)&out->margin);
}

SIM_API int nvmlDeviceGetFanSpeed_v2(device_h h, u32 fan, u32 *out) {
    char name[32];
    u32 fans;
    int rc = get_u32("nvmlDeviceGetFanSpeed_v2", h, "num_fans", &fans);
    if (rc) return rc;
    if (fan >= fans) return INVALID_ARGUMENT;
    snprintf(name, sizeof name, "fan_speed.%u", fan);
    return get_u32("nvmlDeviceGetFanSpeed_v2", h, name, out);
}

SIM_API int nvmlDeviceGetFanSpeedRPM(device_h h, fan_speed_info *out) {
    if (!out) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(1, fan_speed_info)) return ARGUMENT_VERSION_MISMATCH;
    return get_u32("nvmlDeviceGetFanSpeedRPM", h, "fan_rpm", &out->speed);
}
