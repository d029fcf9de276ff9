/* SPDX-License-Identifier: Apache-2.0
 * Functions that a driver of this age exports and that no modelled GPU supports: callers find the symbol and are told
 * so. Their other arguments are never looked at. */
#include "sim.h"

static int unsupported(const char *function, device_h h) {
    struct call c;
    if (!h) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    return rc ? rc : sim_leave(NOT_SUPPORTED);
}

#define UNSUPPORTED(fn) SIM_API int fn(device_h h) { return unsupported(#fn, h); }

UNSUPPORTED(nvmlDeviceGetDriverModel)
UNSUPPORTED(nvmlDeviceGetDriverModel_v2)
UNSUPPORTED(nvmlDeviceGetAutoBoostedClocksEnabled)
UNSUPPORTED(nvmlDeviceGetGpuOperationMode)
UNSUPPORTED(nvmlDeviceGetAccountingMode)
UNSUPPORTED(nvmlDeviceGetAPIRestriction)
UNSUPPORTED(nvmlDeviceGetViolationStatus)
UNSUPPORTED(nvmlDeviceGetBridgeChipInfo)
UNSUPPORTED(nvmlDeviceGetVirtualizationMode)
UNSUPPORTED(nvmlDeviceGetSupportedMemoryClocks)
UNSUPPORTED(nvmlDeviceGetSupportedGraphicsClocks)
UNSUPPORTED(nvmlDeviceGetSupportedPerformanceStates)
UNSUPPORTED(nvmlDeviceGetMaxCustomerBoostClock)
UNSUPPORTED(nvmlDeviceGetMinMaxFanSpeed)
UNSUPPORTED(nvmlDeviceGetEncoderCapacity)
UNSUPPORTED(nvmlDeviceGetEncoderSessions)
UNSUPPORTED(nvmlDeviceGetConfComputeMemSizeInfo)
UNSUPPORTED(nvmlDeviceGetCpuAffinity)
UNSUPPORTED(nvmlDeviceGetTopologyCommonAncestor)
UNSUPPORTED(nvmlDeviceGetNvLinkUtilizationCounter)
UNSUPPORTED(nvmlDeviceGetAdaptiveClockInfoStatus)
UNSUPPORTED(nvmlDeviceGetC2cModeInfoV)
UNSUPPORTED(nvmlDeviceGetThermalSettings)
UNSUPPORTED(nvmlDeviceGetDynamicPstatesInfo)
UNSUPPORTED(nvmlDeviceGetInforomConfigurationChecksum)
