/* SPDX-License-Identifier: Apache-2.0
 * Every call passes here: faults (segv, hang, latency), the driver's life, a lost GPU, errors; then it holds the lock
 * until sim_leave. */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include "sim.h"

static struct slot slots[MAX_GPUS][1 + MAX_MIG];
static u32 references, generation;
static double initialised; /* wall clock of the scenario */

device_h sim_handle(const struct device *dev) { return &slots[dev->gpu][dev->mig]; }
u32 sim_generation(void) { return generation; }

static struct device *resolve(struct scenario *sc, const void *handle) {
    uintptr_t at = (uintptr_t)handle - (uintptr_t)slots;
    if ((uintptr_t)handle < (uintptr_t)slots || at >= sizeof slots || at % sizeof(struct slot)) return NULL;
    size_t i = at / sizeof(struct slot);
    return sc->devices[i / (1 + MAX_MIG)][i % (1 + MAX_MIG)];
}

struct device *sim_parent(const struct call *c, const struct device *dev) { return c->sc->devices[dev->gpu][0]; }

bool sim_is_lost(const struct call *c, const struct device *dev, bool *hidden) {
    for (const struct window *w = sim_parent(c, dev)->lost; w; w = w->next)
        if (w->from <= c->t && c->t < w->to) {
            *hidden = w->code == 1;
            return true;
        }
    return *hidden = false;
}

double sim_origin(const struct call *c) {
    double origin = 0;
    for (const struct window *w = c->sc->reloads; w; w = w->next)
        if (w->to <= c->t && w->to > origin) origin = w->to;
    return origin;
}

static bool matches(const char *pattern, const char *name) {
    size_t n = strlen(pattern);
    if (n && pattern[n - 1] == '*') return !strncmp(pattern, name, n - 1);
    return !strcmp(pattern, name);
}

static const struct fault *fault_in(const struct fault *f, enum action a, const char *target, double t) {
    for (; f; f = f->next)
        if (f->action == a && f->from <= t && t < f->to && matches(f->target, target)) return f;
    return NULL;
}

static const struct fault *fault_of(const struct call *c, enum action a, const char *target) {
    const struct fault *f = NULL;
    if (c->dev) f = fault_in(c->dev->faults, a, target, c->t);
    if (!f && c->dev && c->dev->mig) f = fault_in(sim_parent(c, c->dev)->faults, a, target, c->t);
    return f ? f : fault_in(c->sc->system.faults, a, target, c->t);
}

int fault_code(const struct call *c, const char *target) {
    const struct fault *f = fault_of(c, A_ERROR, target);
    return f ? (int)f->arg : OK;
}

/* Takes the lock and looks up; while the scenario says "hang" for this call it sleeps outside the lock. */
static int arrive(struct call *c, const char *function, const void *handle, bool at_once) {
    bool waited = false;
    for (;;) {
        sim_lock();
        c->sc = sim_current(at_once);
        if (!c->sc) return sim_leave(handle ? UNINITIALIZED : DRIVER_NOT_LOADED);
        c->t = sim_time(c->sc);
        c->dev = handle ? resolve(c->sc, handle) : &c->sc->system;
        if (handle && !c->dev) return sim_leave(INVALID_ARGUMENT);
        if (fault_of(c, A_SEGV, function)) raise(SIGSEGV);
        const struct fault *slow = waited ? NULL : fault_of(c, A_LATENCY, function);
        bool hang = fault_of(c, A_HANG, function) != NULL;
        if (!hang && (!slow || slow->arg <= 0)) return OK;
        double seconds = hang ? 0.005 : slow->arg / 1000;
        waited |= !hang;
        sim_unlock();
        sim_sleep(seconds);
    }
}

static bool is_down(const struct call *c) {
    for (const struct window *w = c->sc->reloads; w; w = w->next)
        if (w->from <= c->t && c->t < w->to) return true;
    return false;
}

static bool is_stale(const struct call *c) {
    for (const struct window *w = c->sc->reloads; w; w = w->next)
        if (w->to <= c->t && initialised - c->sc->epoch < w->to - 1e-6) return true;
    return false;
}

static int driver_state(const struct call *c) {
    return !references || is_down(c) || is_stale(c) ? UNINITIALIZED : OK;
}

int sim_init(void) {
    struct call c;
    int rc = arrive(&c, "nvmlInit", NULL, true);
    if (rc) return rc;
    for (const struct window *w = c.sc->init_fails; w; w = w->next)
        if (w->from <= c.t && c.t < w->to) return sim_leave((int)w->code);
    if (is_down(&c)) return sim_leave(DRIVER_NOT_LOADED);
    if (!references || is_stale(&c)) {
        references = 0;
        generation++;
    }
    references++;
    initialised = c.sc->epoch + c.t;
    return sim_leave(OK);
}

int sim_shutdown(void) {
    struct call c;
    int rc = arrive(&c, "nvmlShutdown", NULL, false);
    if (rc) return rc;
    if (!references) return sim_leave(UNINITIALIZED);
    references--;
    return sim_leave(OK);
}

int sim_enter(struct call *c, const char *function, const void *handle) {
    bool hidden;
    int rc = arrive(c, function, handle, false);
    if (rc) return rc;
    if ((rc = driver_state(c))) return sim_leave(rc);
    if (handle && sim_is_lost(c, c->dev, &hidden)) return sim_leave(GPU_IS_LOST);
    if ((rc = fault_code(c, function))) return sim_leave(rc);
    return OK;
}

int sim_leave(int rc) {
    sim_unlock();
    return rc;
}
