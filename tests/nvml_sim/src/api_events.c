/* SPDX-License-Identifier: Apache-2.0
 * Event sets. A set remembers per device how far it has delivered: events after the registration come once each. */
#include <math.h>
#include <stdlib.h>
#include "sim.h"

#define LONGEST_SLEEP 0.05

/* Delivered: all before `at`, and `same` events exactly at it. */
struct watch { device_h device; u64 types; double at; u32 same; struct watch *next; };
struct event_set { u32 generation; struct watch *watches; };

SIM_API int nvmlEventSetCreate(struct event_set **out) {
    struct call c;
    if (!out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlEventSetCreate", NULL);
    if (rc) return rc;
    *out = calloc(1, sizeof **out);
    if (!*out) return sim_leave(UNKNOWN);
    (*out)->generation = sim_generation();
    return sim_leave(OK);
}

SIM_API int nvmlEventSetFree(struct event_set *set) {
    if (!set) return INVALID_ARGUMENT;
    sim_lock();
    for (struct watch *w = set->watches, *next; w; w = next) {
        next = w->next;
        free(w);
    }
    free(set);
    return sim_leave(OK);
}

static u32 count_at(const struct device *dev, double at) {
    u32 n = 0;
    for (const struct event *e = dev->events; e; e = e->next) n += e->at == at;
    return n;
}

SIM_API int nvmlDeviceRegisterEvents(device_h h, u64 types, struct event_set *set) {
    struct call c;
    u64 supported;
    if (!h || !set) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceRegisterEvents", h);
    if (rc) return rc;
    if (set->generation != sim_generation()) return sim_leave(INVALID_ARGUMENT);
    if ((rc = read_u64(&c, "supported_event_types", &supported))) return sim_leave(rc);
    if (!types || types & ~supported) return sim_leave(NOT_SUPPORTED);
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return sim_leave(UNKNOWN);
    *w = (struct watch){.device = h, .types = types, .at = c.t, .same = count_at(c.dev, c.t), .next = set->watches};
    set->watches = w;
    return sim_leave(OK);
}

/* The first event of a device that this watch has not delivered; same-time ones are told apart by their order. */
static const struct event *next_event(const struct device *dev, const struct watch *w) {
    u32 same = 0;
    for (const struct event *e = dev->events; e; e = e->next) {
        if (e->at < w->at || (e->at == w->at && same++ < w->same)) continue;
        if (e->type & w->types) return e;
    }
    return NULL;
}

static struct device *device_of(const struct call *c, device_h h) {
    for (u32 g = 0; g < c->sc->gpus; g++)
        if (c->sc->devices[g][0] && sim_handle(c->sc->devices[g][0]) == h) return c->sc->devices[g][0];
    return NULL;
}

static void deliver(struct watch *w, const struct device *dev, const struct event *e, event_data *out) {
    u32 order = 1;
    for (const struct event *o = dev->events; o != e; o = o->next) order += o->at == e->at;
    w->at = e->at;
    w->same = order;
    *out = (event_data){w->device, e->type, e->data, e->gi, e->ci};
}

/* Gives the earliest due event, or else says in how many seconds the next one is due. */
static bool poll(const struct call *c, struct event_set *set, event_data *out, double *due) {
    struct watch *best = NULL;
    const struct event *first = NULL;
    for (struct watch *w = set->watches; w; w = w->next) {
        const struct device *dev = device_of(c, w->device);
        const struct event *e = dev ? next_event(dev, w) : NULL;
        if (e && (!first || e->at < first->at)) first = e, best = w;
    }
    *due = first ? first->at - c->t : INFINITY;
    if (!first || *due > 0) return false;
    deliver(best, device_of(c, best->device), first, out);
    return true;
}

static int wait(const char *function, struct event_set *set, event_data *out, u32 timeout_ms) {
    struct call c;
    double left = timeout_ms / 1000.0, due;
    if (!set || !out) return INVALID_ARGUMENT;
    for (;;) {
        int rc = sim_enter(&c, function, NULL);
        if (rc) return rc;
        if (set->generation != sim_generation()) return sim_leave(INVALID_ARGUMENT);
        if (poll(&c, set, out, &due)) return sim_leave(OK);
        sim_unlock();
        if (left <= 0) return TIMEOUT;
        double nap = fmin(fmin(due, left), LONGEST_SLEEP);
        sim_sleep(nap);
        left -= nap;
    }
}

SIM_API int nvmlEventSetWait_v2(struct event_set *set, event_data *out, u32 timeout_ms) {
    return wait("nvmlEventSetWait_v2", set, out, timeout_ms);
}

SIM_API int nvmlEventSetWait(struct event_set *set, event_data *out, u32 timeout_ms) {
    return wait("nvmlEventSetWait", set, out, timeout_ms);
}
