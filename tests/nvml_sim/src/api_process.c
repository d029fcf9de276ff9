/* SPDX-License-Identifier: Apache-2.0
 * Processes: lists by kind, and their utilisation (one sample a second). */
#include <string.h>
#include "sim.h"

#define TICK_US 1000000ull

struct walk { const struct call *c; char kind; u32 mig; const struct process *at; };

#define ANY '*'
#define BUSY '!'

static bool matches(const struct process *p, char kind) {
    if (kind == BUSY) return p->sm || p->mem || p->enc || p->dec || p->jpg || p->ofa;
    return kind == ANY || p->kind == kind;
}

/* A GPU shows its own processes and those of its MIG instances; an instance only its own. */
static const struct process *step(struct walk *w) {
    for (;;) {
        while (!w->at) {
            if (w->c->dev->mig || w->mig == MAX_MIG) return NULL;
            const struct device *next = w->c->sc->devices[w->c->dev->gpu][++w->mig];
            w->at = next ? next->processes : NULL;
        }
        const struct process *p = w->at;
        w->at = p->next;
        if (matches(p, w->kind) && p->from <= w->c->t && w->c->t < p->to) return p;
    }
}

static struct walk walk(const struct call *c, char kind) {
    return (struct walk){.c = c, .kind = kind, .mig = c->dev->mig, .at = c->dev->processes};
}

static u32 count_of(const struct call *c, char kind) {
    struct walk w = walk(c, kind);
    u32 n = 0;
    while (step(&w)) n++;
    return n;
}

static int list(const char *function, device_h h, char kind, u32 *count, process_info *out) {
    struct call c;
    struct number n;
    if (!h || !count) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    if ((rc = read_number(&c, "processes", &n))) return sim_leave(rc);
    u32 room = out ? *count : 0, i = 0;
    *count = count_of(&c, kind);
    if (*count > room) return sim_leave(INSUFFICIENT_SIZE);
    struct walk w = walk(&c, kind);
    for (const struct process *p; (p = step(&w));)
        out[i++] = (process_info){.pid = p->pid, .used_memory = p->used, .gpu_instance = p->gi, .compute_instance = p->ci};
    return sim_leave(OK);
}

#define LIST(fn, kind) SIM_API int fn(device_h h, u32 *count, process_info *out) { return list(#fn, h, kind, count, out); }
LIST(nvmlDeviceGetComputeRunningProcesses_v2, 'c')
LIST(nvmlDeviceGetComputeRunningProcesses_v3, 'c')
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, 'g')
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, 'g')
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, 'm')
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, 'm')

SIM_API int nvmlDeviceGetRunningProcessDetailList(device_h h, process_detail_list *out) {
    struct call c;
    struct number n;
    if (!h || !out || out->mode > 3) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(1, process_detail_list)) return ARGUMENT_VERSION_MISMATCH;
    int rc = sim_enter(&c, "nvmlDeviceGetRunningProcessDetailList", h);
    if (rc) return rc;
    if ((rc = read_number(&c, "processes", &n))) return sim_leave(rc);
    char kind = "cgm*"[out->mode];
    u32 room = out->list ? out->count : 0, i = 0;
    out->count = count_of(&c, kind);
    if (out->count > room) return sim_leave(INSUFFICIENT_SIZE);
    struct walk w = walk(&c, kind);
    for (const struct process *p; (p = step(&w));)
        out->list[i++] = (process_detail){.pid = p->pid, .used_memory = p->used, .gpu_instance = p->gi,
                                          .compute_instance = p->ci, .protected_memory = ~0ull};
    return sim_leave(OK);
}

static u64 tick(const struct call *c) { return (u64)((c->sc->epoch + c->t) * 1e6) / TICK_US * TICK_US; }

/* Count of what there is to give, or why there is nothing: a process that did nothing has no sample. */
static int fresh(const struct call *c, u64 last_seen, u32 room, u32 *count) {
    struct number n;
    int rc = read_number(c, "process_utilization", &n);
    if (rc) return rc;
    *count = count_of(c, BUSY);
    if (tick(c) <= last_seen || !*count) return NOT_FOUND;
    return *count > room ? INSUFFICIENT_SIZE : OK;
}

SIM_API int nvmlDeviceGetProcessUtilization(device_h h, process_sample *out, u32 *count, u64 last_seen) {
    struct call c;
    if (!h || !count) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetProcessUtilization", h);
    if (rc) return rc;
    if ((rc = fresh(&c, last_seen, out ? *count : 0, count))) return sim_leave(rc);
    struct walk w = walk(&c, BUSY);
    u32 i = 0;
    for (const struct process *p; (p = step(&w));)
        out[i++] = (process_sample){.pid = p->pid, .time = tick(&c), .sm = p->sm, .mem = p->mem, .enc = p->enc, .dec = p->dec};
    return sim_leave(OK);
}

SIM_API int nvmlDeviceGetProcessesUtilizationInfo(device_h h, process_util_list *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(1, process_util_list)) return ARGUMENT_VERSION_MISMATCH;
    int rc = sim_enter(&c, "nvmlDeviceGetProcessesUtilizationInfo", h);
    if (rc) return rc;
    if ((rc = fresh(&c, out->last_seen, out->list ? out->count : 0, &out->count))) return sim_leave(rc);
    struct walk w = walk(&c, BUSY);
    u32 i = 0;
    for (const struct process *p; (p = step(&w));)
        out->list[i++] = (process_util){.time = tick(&c), .pid = p->pid, .sm = p->sm, .mem = p->mem, .enc = p->enc,
                                        .dec = p->dec, .jpg = p->jpg, .ofa = p->ofa};
    return sim_leave(OK);
}
