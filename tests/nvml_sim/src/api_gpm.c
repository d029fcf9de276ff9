/* SPDX-License-Identifier: Apache-2.0
 * GPM: a sample is a moment; a metric is the mean of its value between two moments. */
#include <stdio.h>
#include <stdlib.h>
#include "sim.h"

#define CLOSEST 0.1 /* samples less than 100 ms apart give no data */

struct gpm_sample { device_h device; u32 gpu_instance; bool taken; double t; };

static const struct { u32 id; const char *name; } NAMES[] = {
    {1, "gpm.graphics_util"}, {2, "gpm.sm_util"}, {3, "gpm.sm_occupancy"}, {4, "gpm.integer_util"},
    {5, "gpm.any_tensor_util"}, {6, "gpm.dfma_tensor_util"}, {7, "gpm.hmma_tensor_util"},
    {8, "gpm.dmma_tensor_util"}, {9, "gpm.imma_tensor_util"}, {10, "gpm.dram_bw_util"}, {11, "gpm.fp64_util"},
    {12, "gpm.fp32_util"}, {13, "gpm.fp16_util"}, {20, "gpm.pcie_tx"}, {21, "gpm.pcie_rx"},
    {60, "gpm.nvlink_rx"}, {61, "gpm.nvlink_tx"},
};

static const char *name_of(u32 id, char *room, size_t size) {
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (NAMES[i].id == id) return NAMES[i].name;
    snprintf(room, size, "gpm.%u", id);
    return room;
}

SIM_API int nvmlGpmSampleAlloc(struct gpm_sample **out) {
    struct call c;
    if (!out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlGpmSampleAlloc", NULL);
    if (rc) return rc;
    *out = calloc(1, sizeof **out);
    return sim_leave(*out ? OK : UNKNOWN);
}

SIM_API int nvmlGpmSampleFree(struct gpm_sample *s) {
    free(s);
    return OK;
}

static bool is_supported(const struct call *c) {
    struct call of = {.sc = c->sc, .dev = sim_parent(c, c->dev), .t = c->t};
    return read_or(&of, "gpm.supported", 0) != 0;
}

static int take(const char *function, device_h h, u32 gpu_instance, struct gpm_sample *s) {
    struct call c;
    if (!h || !s) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    if (!is_supported(&c)) return sim_leave(NOT_SUPPORTED);
    *s = (struct gpm_sample){.device = h, .gpu_instance = gpu_instance, .taken = true, .t = c.t};
    return sim_leave(OK);
}

SIM_API int nvmlGpmSampleGet(device_h h, struct gpm_sample *s) { return take("nvmlGpmSampleGet", h, NO_INSTANCE, s); }

SIM_API int nvmlGpmMigSampleGet(device_h h, u32 gpu_instance, struct gpm_sample *s) {
    return take("nvmlGpmMigSampleGet", h, gpu_instance, s);
}

SIM_API int nvmlGpmQueryDeviceSupport(device_h h, gpm_support *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    if (out->version != 1) return ARGUMENT_VERSION_MISMATCH;
    int rc = sim_enter(&c, "nvmlGpmQueryDeviceSupport", h);
    if (rc) return rc;
    out->supported = is_supported(&c);
    return sim_leave(OK);
}

static void metric(const struct call *c, double from, double to, gpm_metric *m) {
    char room[32];
    struct number n;
    const char *name = name_of(m->id, room, sizeof room);
    m->info = (metric_info){"", "", ""};
    m->rc = to - from < CLOSEST ? NO_DATA : (u32)read_number(c, name, &n);
    if (!m->rc) m->value = spec_mean(spec_at(table_find(c->dev, name), to), from, to);
}

static struct device *instance_of(const struct call *c, u32 id) {
    for (u32 m = 1; m <= MAX_MIG; m++) {
        struct call mig = {.sc = c->sc, .dev = c->sc->devices[c->dev->gpu][m], .t = c->t};
        if (mig.dev && read_or(&mig, "gpu_instance", ~0ull) == id) return mig.dev;
    }
    return NULL;
}

SIM_API int nvmlGpmMetricsGet(gpm_request *r) {
    struct call c;
    if (!r || !r->first || !r->second || !r->first->taken || !r->second->taken) return INVALID_ARGUMENT;
    if (r->version != 1) return ARGUMENT_VERSION_MISMATCH;
    const struct gpm_sample *a = r->first, *b = r->second;
    if (a->device != b->device || a->gpu_instance != b->gpu_instance || b->t <= a->t) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlGpmMetricsGet", b->device);
    if (rc) return rc;
    if (b->gpu_instance != NO_INSTANCE && !(c.dev = instance_of(&c, b->gpu_instance)))
        return sim_leave(INVALID_ARGUMENT);
    for (u32 i = 0; i < r->count; i++) metric(&c, a->t, b->t, &r->metrics[i]);
    return sim_leave(OK);
}
