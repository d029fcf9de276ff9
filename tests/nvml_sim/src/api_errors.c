/* SPDX-License-Identifier: Apache-2.0
 * ECC, row remapping, retired pages, NVLink. */
#include <stdio.h>
#include <string.h>
#include "sim.h"

#define NAME_ROOM 64

static const char *const PLACES[] = {"l1", "l2", "dram", "register_file", "texture", "texture_shm", "cbu", "sram"};

int ecc_name(char *out, size_t size, u32 error, u32 counter, const char *place) {
    if (error > 1 || counter > 1) return INVALID_ARGUMENT;
    snprintf(out, size, "ecc.%s.%s.%s", error ? "uncorrected" : "corrected", counter ? "aggregate" : "volatile", place);
    return OK;
}

SIM_API int nvmlDeviceGetTotalEccErrors(device_h h, u32 error, u32 counter, u64 *out) {
    char name[NAME_ROOM];
    int rc = ecc_name(name, sizeof name, error, counter, "total");
    return rc ? rc : get_u64("nvmlDeviceGetTotalEccErrors", h, name, out);
}

SIM_API int nvmlDeviceGetMemoryErrorCounter(device_h h, u32 error, u32 counter, u32 place, u64 *out) {
    char name[NAME_ROOM];
    int rc = place < 8 ? ecc_name(name, sizeof name, error, counter, PLACES[place]) : INVALID_ARGUMENT;
    return rc ? rc : get_u64("nvmlDeviceGetMemoryErrorCounter", h, name, out);
}

SIM_API int nvmlDeviceGetDetailedEccErrors(device_h h, u32 error, u32 counter, ecc_counts *out) {
    struct call c;
    char name[NAME_ROOM];
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetDetailedEccErrors", h);
    if (rc) return rc;
    u64 *const at[] = {&out->l1, &out->l2, &out->dram, &out->register_file};
    for (u32 i = 0; i < 4 && !rc; i++)
        if (!(rc = ecc_name(name, sizeof name, error, counter, PLACES[i]))) rc = read_u64(&c, name, at[i]);
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetSramEccErrorStatus(device_h h, sram_status *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(1, sram_status)) return ARGUMENT_VERSION_MISMATCH;
    int rc = sim_enter(&c, "nvmlDeviceGetSramEccErrorStatus", h);
    if (rc) return rc;
    const struct { const char *name; u64 *at; } parts[] = {
        {"sram.aggregate_parity", &out->agg_parity}, {"sram.aggregate_secded", &out->agg_secded},
        {"sram.aggregate_corrected", &out->agg_cor}, {"sram.volatile_parity", &out->vol_parity},
        {"sram.volatile_secded", &out->vol_secded}, {"sram.volatile_corrected", &out->vol_cor},
        {"sram.bucket_l2", &out->bucket_l2}, {"sram.bucket_sm", &out->bucket_sm},
        {"sram.bucket_pcie", &out->bucket_pcie}, {"sram.bucket_mcu", &out->bucket_mcu},
        {"sram.bucket_other", &out->bucket_other}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !rc; i++) rc = read_u64(&c, parts[i].name, parts[i].at);
    if (!rc) rc = read_u32(&c, "sram.threshold_exceeded", &out->threshold_exceeded);
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetRemappedRows(device_h h, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
    struct call c;
    if (!h || !corrected || !uncorrected || !pending || !failed) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetRemappedRows", h);
    if (rc) return rc;
    if (!(rc = read_u32(&c, "remap.correctable", corrected)) &&
        !(rc = read_u32(&c, "remap.uncorrectable", uncorrected)) && !(rc = read_u32(&c, "remap.pending", pending)))
        rc = read_u32(&c, "remap.failed", failed);
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetRowRemapperHistogram(device_h h, remap_histogram *out) {
    static const char *const NAMES[] = {
        "remap.histogram.max", "remap.histogram.high", "remap.histogram.partial", "remap.histogram.low",
        "remap.histogram.none"};
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetRowRemapperHistogram", h);
    if (rc) return rc;
    u32 *const at[] = {&out->max, &out->high, &out->partial, &out->low, &out->none};
    for (u32 i = 0; i < 5 && !rc; i++) rc = read_u32(&c, NAMES[i], at[i]);
    return sim_leave(rc);
}

static u32 pages_of(const struct device *dev, u32 cause) {
    u32 n = 0;
    for (const struct page *p = dev->pages; p; p = p->next) n += p->double_bit == (cause == 1);
    return n;
}

static int pages(const char *function, device_h h, u32 cause, u32 *count, u64 *addresses, u64 *times) {
    struct call c;
    u64 supported;
    if (!h || !count || cause > 1) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    if ((rc = read_u64(&c, "retired.pending", &supported))) return sim_leave(rc);
    u32 room = addresses ? *count : 0, i = 0;
    *count = pages_of(c.dev, cause);
    if (*count > room) return sim_leave(INSUFFICIENT_SIZE);
    for (const struct page *p = c.dev->pages; p; p = p->next) {
        if (p->double_bit != (cause == 1)) continue;
        if (times) times[i] = p->time;
        addresses[i++] = p->address;
    }
    return sim_leave(OK);
}

SIM_API int nvmlDeviceGetRetiredPages(device_h h, u32 cause, u32 *count, u64 *addresses) {
    return pages("nvmlDeviceGetRetiredPages", h, cause, count, addresses, NULL);
}

SIM_API int nvmlDeviceGetRetiredPages_v2(device_h h, u32 cause, u32 *count, u64 *addresses, u64 *times) {
    return pages("nvmlDeviceGetRetiredPages_v2", h, cause, count, addresses, times);
}

/* A link beyond the board's count is a wrong argument; a board without links does not support the question. */
static int link_name(const char *function, device_h h, u32 link, const char *what, int which, char *name) {
    u32 links;
    int rc = get_u32(function, h, "nvlink.count", &links);
    if (rc) return rc;
    if (link >= links) return INVALID_ARGUMENT;
    int n = snprintf(name, NAME_ROOM, "nvlink.%u.%s", link, what);
    if (which >= 0) snprintf(name + n, (size_t)(NAME_ROOM - n), ".%d", which);
    return OK;
}

static int link_u32(const char *function, device_h h, u32 link, const char *what, int which, u32 *out) {
    char name[NAME_ROOM];
    int rc = link_name(function, h, link, what, which, name);
    return rc ? rc : get_u32(function, h, name, out);
}

SIM_API int nvmlDeviceGetNvLinkState(device_h h, u32 link, u32 *out) {
    return link_u32("nvmlDeviceGetNvLinkState", h, link, "state", -1, out);
}

SIM_API int nvmlDeviceGetNvLinkVersion(device_h h, u32 link, u32 *out) {
    return link_u32("nvmlDeviceGetNvLinkVersion", h, link, "version", -1, out);
}

SIM_API int nvmlDeviceGetNvLinkRemoteDeviceType(device_h h, u32 link, u32 *out) {
    return link_u32("nvmlDeviceGetNvLinkRemoteDeviceType", h, link, "remote_type", -1, out);
}

SIM_API int nvmlDeviceGetNvLinkCapability(device_h h, u32 link, u32 which, u32 *out) {
    return link_u32("nvmlDeviceGetNvLinkCapability", h, link, "capability", (int)which, out);
}

SIM_API int nvmlDeviceGetNvLinkErrorCounter(device_h h, u32 link, u32 which, u64 *out) {
    char name[NAME_ROOM];
    int rc = link_name("nvmlDeviceGetNvLinkErrorCounter", h, link, "error", (int)which, name);
    return rc ? rc : get_u64("nvmlDeviceGetNvLinkErrorCounter", h, name, out);
}

SIM_API int nvmlDeviceGetNvLinkRemotePciInfo_v2(device_h h, u32 link, pci_info *out) {
    u32 bus;
    if (!out) return INVALID_ARGUMENT;
    int rc = link_u32("nvmlDeviceGetNvLinkRemotePciInfo_v2", h, link, "remote_bus", -1, &bus);
    if (rc) return rc;
    memset(out, 0, sizeof *out);
    out->bus = bus;
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", bus);
    snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "0000:%02X:00.0", bus & 0xFF);
    return OK;
}
