/* SPDX-License-Identifier: Apache-2.0
 * Library life, system facts, and finding a device. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "sim.h"

SIM_API int nvmlInitWithFlags(u32 flags) { (void)flags; return sim_init(); }
SIM_API int nvmlInit_v2(void) { return sim_init(); }
SIM_API int nvmlInit(void) { return sim_init(); }
SIM_API int nvmlShutdown(void) { return sim_shutdown(); }

SIM_API const char *nvmlErrorString(int rc) {
    switch (rc) {
    case OK: return "The operation was successful";
    case UNINITIALIZED: return "NVML was not first initialized with nvmlInit()";
    case INVALID_ARGUMENT: return "A supplied argument is invalid";
    case NOT_SUPPORTED: return "The requested operation is not available on target device";
    case NO_PERMISSION: return "The current user does not have permission for operation";
    case NOT_FOUND: return "A query to find an object was unsuccessful";
    case INSUFFICIENT_SIZE: return "An input argument is not large enough";
    case DRIVER_NOT_LOADED: return "NVIDIA driver is not loaded";
    case TIMEOUT: return "User provided timeout passed";
    case GPU_IS_LOST: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

static int system_text(const char *function, const char *name, char *out, u32 size) {
    struct call c;
    const char *text;
    if (!out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, NULL);
    if (rc) return rc;
    if (!(rc = read_text(&c, name, &text))) rc = copy_text(text, out, size);
    return sim_leave(rc);
}

SIM_API int nvmlSystemGetDriverVersion(char *out, u32 size) {
    return system_text("nvmlSystemGetDriverVersion", "driver_version", out, size);
}

SIM_API int nvmlSystemGetNVMLVersion(char *out, u32 size) {
    return system_text("nvmlSystemGetNVMLVersion", "nvml_version", out, size);
}

static int cuda(const char *function, int *out) {
    struct call c;
    if (!out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, NULL);
    return rc ? rc : sim_leave(read_u32(&c, "cuda_driver_version", (u32 *)out));
}

SIM_API int nvmlSystemGetCudaDriverVersion(int *out) { return cuda("nvmlSystemGetCudaDriverVersion", out); }
SIM_API int nvmlSystemGetCudaDriverVersion_v2(int *out) { return cuda("nvmlSystemGetCudaDriverVersion_v2", out); }

static const char *process_name(const struct call *c, u32 pid) {
    for (u32 g = 0; g < c->sc->gpus; g++)
        for (u32 m = 0; m <= MAX_MIG; m++) {
            const struct device *dev = c->sc->devices[g][m];
            for (const struct process *p = dev ? dev->processes : NULL; p; p = p->next)
                if (p->pid == pid) return p->name;
        }
    return NULL;
}

SIM_API int nvmlSystemGetProcessName(u32 pid, char *out, u32 size) {
    struct call c;
    if (!out || !size) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlSystemGetProcessName", NULL);
    if (rc) return rc;
    const char *name = process_name(&c, pid);
    if (name) snprintf(out, size, "%s", name);
    return sim_leave(name ? OK : NOT_FOUND);
}

static bool is_listed(const struct call *c, u32 gpu) {
    bool hidden;
    const struct device *dev = c->sc->devices[gpu][0];
    return dev && !(sim_is_lost(c, dev, &hidden) && hidden);
}

static int count(const char *function, u32 *out) {
    struct call c;
    if (!out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, NULL);
    if (rc) return rc;
    *out = 0;
    for (u32 g = 0; g < c.sc->gpus; g++) *out += is_listed(&c, g);
    return sim_leave(OK);
}

SIM_API int nvmlDeviceGetCount_v2(u32 *out) { return count("nvmlDeviceGetCount_v2", out); }
SIM_API int nvmlDeviceGetCount(u32 *out) { return count("nvmlDeviceGetCount", out); }

static int give(const struct call *c, const struct device *dev, device_h *out) {
    bool hidden;
    if (!dev) return NOT_FOUND;
    *out = sim_handle(dev);
    return sim_is_lost(c, dev, &hidden) ? GPU_IS_LOST : OK;
}

static int by_index(const char *function, u32 index, device_h *out) {
    struct call c;
    if (!out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, NULL);
    if (rc) return rc;
    for (u32 g = 0; g < c.sc->gpus; g++)
        if (is_listed(&c, g) && !index--) return sim_leave(give(&c, c.sc->devices[g][0], out));
    return sim_leave(INVALID_ARGUMENT);
}

SIM_API int nvmlDeviceGetHandleByIndex_v2(u32 i, device_h *out) {
    return by_index("nvmlDeviceGetHandleByIndex_v2", i, out);
}

SIM_API int nvmlDeviceGetHandleByIndex(u32 i, device_h *out) { return by_index("nvmlDeviceGetHandleByIndex", i, out); }

SIM_API int nvmlDeviceGetIndex(device_h h, u32 *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetIndex", h);
    if (rc) return rc;
    *out = c.dev->mig ? c.dev->mig - 1 : 0;
    for (u32 g = 0; !c.dev->mig && g < c.dev->gpu; g++) *out += is_listed(&c, g);
    return sim_leave(OK);
}

static bool has_text(struct call *c, struct device *dev, const char *name, const char *wanted) {
    struct call of = {.sc = c->sc, .dev = dev, .t = c->t};
    const char *text;
    return !read_text(&of, name, &text) && !strcasecmp(text, wanted);
}

static int by_text(const char *function, const char *name, const char *wanted, device_h *out) {
    struct call c;
    if (!wanted || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, NULL);
    if (rc) return rc;
    for (u32 g = 0; g < c.sc->gpus; g++)
        for (u32 m = 0; m <= MAX_MIG && is_listed(&c, g); m++) {
            struct device *dev = c.sc->devices[g][m];
            if (dev && has_text(&c, dev, name, wanted)) return sim_leave(give(&c, dev, out));
        }
    return sim_leave(NOT_FOUND);
}

SIM_API int nvmlDeviceGetHandleByUUID(const char *uuid, device_h *out) {
    return by_text("nvmlDeviceGetHandleByUUID", "uuid", uuid, out);
}

SIM_API int nvmlDeviceGetHandleBySerial(const char *serial, device_h *out) {
    return by_text("nvmlDeviceGetHandleBySerial", "serial", serial, out);
}

static bool at_address(struct call *c, struct device *dev, u32 domain, u32 bus, u32 device) {
    struct call of = {.sc = c->sc, .dev = dev, .t = c->t};
    return dev && read_or(&of, "pci.domain", 0) == domain && read_or(&of, "pci.bus", ~0ull) == bus &&
           read_or(&of, "pci.device", 0) == device;
}

SIM_API int nvmlDeviceGetHandleByPciBusId_v2(const char *address, device_h *out) {
    struct call c;
    u32 domain, bus, device;
    if (!address || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetHandleByPciBusId_v2", NULL);
    if (rc) return rc;
    if (sscanf(address, "%x:%x:%x", &domain, &bus, &device) != 3) return sim_leave(INVALID_ARGUMENT);
    for (u32 g = 0; g < c.sc->gpus; g++)
        if (is_listed(&c, g) && at_address(&c, c.sc->devices[g][0], domain, bus, device))
            return sim_leave(give(&c, c.sc->devices[g][0], out));
    return sim_leave(NOT_FOUND);
}
