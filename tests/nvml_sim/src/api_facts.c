/* SPDX-License-Identifier: Apache-2.0
 * Structs about a device: PCI, memory, platform, fabric, attributes. */
#include <stdio.h>
#include <string.h>
#include "sim.h"

struct part { const char *name; u32 *at; };

static int read_parts(const struct call *c, const struct part *parts, size_t n) {
    int rc = OK;
    for (size_t i = 0; i < n && !rc; i++) rc = read_u32(c, parts[i].name, parts[i].at);
    return rc;
}

static int pci(const char *function, device_h h, pci_info *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    struct part parts[] = {{"pci.domain", &out->domain}, {"pci.bus", &out->bus}, {"pci.device", &out->device},
                           {"pci.device_id", &out->pci_device_id}, {"pci.subsystem_id", &out->pci_subsystem_id}};
    memset(out, 0, sizeof *out);
    if (!(rc = read_parts(&c, parts, 5))) {
        snprintf(out->bus_id, sizeof out->bus_id, "%08X:%02X:%02X.0", out->domain, out->bus, out->device);
        snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "%04X:%02X:%02X.0", out->domain & 0xFFFF,
                 out->bus & 0xFF, out->device & 0xFF);
    }
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetPciInfo_v3(device_h h, pci_info *out) { return pci("nvmlDeviceGetPciInfo_v3", h, out); }
SIM_API int nvmlDeviceGetPciInfo_v2(device_h h, pci_info *out) { return pci("nvmlDeviceGetPciInfo_v2", h, out); }

SIM_API int nvmlDeviceGetMemoryInfo_v2(device_h h, memory_v2 *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(2, memory_v2)) return ARGUMENT_VERSION_MISMATCH;
    int rc = sim_enter(&c, "nvmlDeviceGetMemoryInfo_v2", h);
    if (rc) return rc;
    if (!(rc = read_u64(&c, "fb.total", &out->total))) rc = read_u64(&c, "fb.used", &out->used);
    out->reserved = read_or(&c, "fb.reserved", 0);
    if (!rc) out->free = read_or(&c, "fb.free", out->total - out->used - out->reserved);
    return sim_leave(rc);
}

/* The first version has no `reserved`: it is part of `used`. */
SIM_API int nvmlDeviceGetMemoryInfo(device_h h, memory_v1 *out) {
    struct call c;
    u64 used = 0;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetMemoryInfo", h);
    if (rc) return rc;
    if (!(rc = read_u64(&c, "fb.total", &out->total))) rc = read_u64(&c, "fb.used", &used);
    if (!rc) out->free = read_or(&c, "fb.free", out->total - used - read_or(&c, "fb.reserved", 0));
    if (!rc) out->used = out->total - out->free;
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetBAR1MemoryInfo(device_h h, bar1_memory *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetBAR1MemoryInfo", h);
    if (rc) return rc;
    if (!(rc = read_u64(&c, "bar1.total", &out->total))) rc = read_u64(&c, "bar1.used", &out->used);
    if (!rc) out->free = out->total - out->used;
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetPlatformInfo(device_h h, platform_info *out) {
    struct call c;
    u32 v[5];
    if (!h || !out) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(2, platform_info)) return ARGUMENT_VERSION_MISMATCH;
    int rc = sim_enter(&c, "nvmlDeviceGetPlatformInfo", h);
    if (rc) return rc;
    struct part parts[] = {{"platform.slot_number", &v[0]}, {"platform.tray_index", &v[1]},
                           {"platform.host_id", &v[2]}, {"platform.peer_type", &v[3]},
                           {"platform.module_id", &v[4]}};
    if ((rc = read_parts(&c, parts, 5))) return sim_leave(rc);
    out->slot_number = (unsigned char)v[0];
    out->tray_index = (unsigned char)v[1];
    out->host_id = (unsigned char)v[2];
    out->peer_type = (unsigned char)v[3];
    out->module_id = (unsigned char)v[4];
    rc = read_bytes(&c, "platform.ib_guid", out->ib_guid, 16);
    if (!rc) rc = read_bytes(&c, "platform.chassis_serial", out->chassis_serial, 16);
    return sim_leave(rc);
}

static int fabric(const char *function, device_h h, fabric_v3 *out) {
    struct call c;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    out->health_mask = (u32)read_or(&c, "fabric.health_mask", 0);
    out->health_summary = (unsigned char)read_or(&c, "fabric.health_summary", 0);
    struct part parts[] = {{"fabric.status", &out->status}, {"fabric.clique", &out->clique},
                           {"fabric.state", &out->state}};
    if (!(rc = read_parts(&c, parts, 3))) rc = read_bytes(&c, "fabric.cluster", out->cluster, 16);
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetGpuFabricInfo(device_h h, fabric_info *out) {
    fabric_v3 all;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = fabric("nvmlDeviceGetGpuFabricInfo", h, &all);
    if (rc) return rc;
    memcpy(out->cluster, all.cluster, 16);
    out->status = all.status, out->clique = all.clique, out->state = all.state;
    return OK;
}

/* Version 3 is version 2 with one more member behind it. */
SIM_API int nvmlDeviceGetGpuFabricInfoV(device_h h, fabric_v3 *out) {
    fabric_v3 all;
    if (!h || !out) return INVALID_ARGUMENT;
    bool third = out->version == VERSIONED(3, fabric_v3);
    if (!third && out->version != VERSIONED(2, fabric_v2)) return ARGUMENT_VERSION_MISMATCH;
    all.version = out->version;
    int rc = fabric("nvmlDeviceGetGpuFabricInfoV", h, &all);
    if (!rc) memcpy(out, &all, third ? sizeof(fabric_v3) : sizeof(fabric_v2));
    return rc;
}

SIM_API int nvmlDeviceGetAttributes_v2(device_h h, attributes *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetAttributes_v2", h);
    if (rc) return rc;
    struct part parts[] = {{"attr.multiprocessors", &out->sms}, {"attr.copy_engines", &out->copy_engines},
                           {"attr.decoders", &out->decoders}, {"attr.encoders", &out->encoders},
                           {"attr.jpegs", &out->jpegs}, {"attr.ofas", &out->ofas},
                           {"attr.gpu_slices", &out->gi_slices}, {"attr.compute_slices", &out->ci_slices}};
    if (!(rc = read_parts(&c, parts, 8))) rc = read_u64(&c, "attr.memory_mb", &out->memory_mb);
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetEncoderStats(device_h h, u32 *sessions, u32 *fps, u32 *latency) {
    struct call c;
    if (!h || !sessions || !fps || !latency) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetEncoderStats", h);
    if (rc) return rc;
    struct part parts[] = {{"encoder.sessions", sessions}, {"encoder.fps", fps}, {"encoder.latency_us", latency}};
    return sim_leave(read_parts(&c, parts, 3));
}
