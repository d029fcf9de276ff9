/* SPDX-License-Identifier: Apache-2.0
 * Reads a scenario file (see ../README.md). One directive a line; a bad line is reported and fails the load. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sim.h"

struct reader { struct scenario *sc; struct device *dev; const char *why; };

static char *word(char **rest) {
    char *s = *rest + strspn(*rest, " \t");
    char *end = s + strcspn(s, " \t");
    *rest = *end ? end + 1 : end;
    *end = 0;
    return s;
}

static double number_or(char **rest, double otherwise) {
    char *w = word(rest);
    if (!*w || !strcmp(w, "-")) return otherwise;
    return atof(w);
}

static void put(struct reader *r, double from, char *rest) {
    char *name = word(&rest);
    struct spec *s = spec_parse(r->sc, rest, &r->why);
    if (!s) return;
    r->why = NULL;
    s->from = from;
    table_put(r->sc, r->dev, name, s);
}

static void do_set(struct reader *r, char *rest) { put(r, -INFINITY, rest); }

static void do_from(struct reader *r, char *rest) {
    double from = number_or(&rest, 0);
    put(r, from, rest);
}

static void open_device(struct reader *r, u32 gpu, u32 mig) {
    if (gpu >= MAX_GPUS || mig > MAX_MIG || (mig && !r->sc->devices[gpu][0])) {
        r->why = "no such device number";
        return;
    }
    struct device **at = &r->sc->devices[gpu][mig];
    if (!*at) *at = arena_alloc(r->sc, sizeof **at);
    (*at)->gpu = gpu;
    (*at)->mig = mig;
    (*at)->default_error = NOT_SUPPORTED;
    r->dev = *at;
    if (gpu >= r->sc->gpus) r->sc->gpus = gpu + 1;
}

static void do_gpu(struct reader *r, char *rest) { open_device(r, (u32)atoi(word(&rest)), 0); }

static void do_mig(struct reader *r, char *rest) {
    u32 gpu = (u32)atoi(word(&rest));
    open_device(r, gpu, (u32)atoi(word(&rest)) + 1);
}

static void do_system(struct reader *r, char *rest) {
    (void)rest;
    r->dev = &r->sc->system;
}

static void do_default(struct reader *r, char *rest) {
    int code = code_of(word(&rest));
    if (code < 0) r->why = "no such error";
    r->dev->default_error = (u32)code;
}

static void do_epoch(struct reader *r, char *rest) { r->sc->epoch = atof(rest); }

static void do_freeze(struct reader *r, char *rest) {
    r->sc->frozen = atof(rest);
    r->sc->is_frozen = true;
}

static void add_window(struct reader *r, struct window **list, char *rest, u32 code) {
    struct window *w = arena_alloc(r->sc, sizeof *w);
    w->from = number_or(&rest, -INFINITY);
    w->to = number_or(&rest, INFINITY);
    w->code = !strcmp(word(&rest), "hidden") ? 1 : code;
    w->next = *list;
    *list = w;
}

static void do_lost(struct reader *r, char *rest) { add_window(r, &r->dev->lost, rest, 0); }
static void do_reload(struct reader *r, char *rest) { add_window(r, &r->sc->reloads, rest, 0); }

static void do_init(struct reader *r, char *rest) {
    int code = code_of(word(&rest));
    if (code < 0) r->why = "no such error";
    add_window(r, &r->sc->init_fails, rest, (u32)code);
}

static void do_event(struct reader *r, char *rest) {
    struct event *e = arena_alloc(r->sc, sizeof *e), **at = &r->dev->events;
    e->at = number_or(&rest, 0);
    e->type = strtoull(word(&rest), NULL, 0);
    e->data = strtoull(word(&rest), NULL, 0);
    e->gi = (u32)number_or(&rest, NO_INSTANCE);
    e->ci = (u32)number_or(&rest, NO_INSTANCE);
    while (*at && (*at)->at <= e->at) at = &(*at)->next;
    e->next = *at;
    *at = e;
}

static void do_retired(struct reader *r, char *rest) {
    struct page *p = arena_alloc(r->sc, sizeof *p), **at = &r->dev->pages;
    p->double_bit = !strcmp(word(&rest), "double_bit");
    p->address = strtoull(word(&rest), NULL, 0);
    p->time = strtoull(word(&rest), NULL, 0);
    while (*at) at = &(*at)->next;
    *at = p;
}

static void do_fault(struct reader *r, char *rest) {
    static const char *const NAMES[] = {"error", "hang", "latency", "segv"};
    struct fault *f = arena_alloc(r->sc, sizeof *f);
    f->target = arena_text(r->sc, word(&rest));
    char *action = word(&rest);
    u32 i = 0;
    while (i < 4 && strcmp(action, NAMES[i])) i++;
    if (i == 4) r->why = "a fault is error, hang, latency or segv";
    f->action = (enum action)i;
    if (f->action == A_ERROR) f->arg = code_of(word(&rest));
    if (f->action == A_LATENCY) f->arg = number_or(&rest, 0);
    if (f->arg < 0) r->why = "no such error";
    f->from = number_or(&rest, -INFINITY);
    f->to = number_or(&rest, INFINITY);
    f->next = r->dev->faults;
    r->dev->faults = f;
}

static bool process_part(struct process *p, const char *key, const char *v) {
    struct { const char *key; u32 *at; } whole[] = {
        {"pid", &p->pid}, {"gi", &p->gi}, {"ci", &p->ci}, {"sm", &p->sm}, {"mem", &p->mem},
        {"enc", &p->enc}, {"dec", &p->dec}, {"jpg", &p->jpg}, {"ofa", &p->ofa}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (!strcmp(key, whole[i].key)) return *whole[i].at = (u32)strtoul(v, NULL, 0), true;
    if (!strcmp(key, "used")) return p->used = strtoull(v, NULL, 0), true;
    if (!strcmp(key, "kind")) return p->kind = *v, true;
    if (!strcmp(key, "from")) return p->from = atof(v), true;
    if (!strcmp(key, "to")) return p->to = atof(v), true;
    return false;
}

static void do_process(struct reader *r, char *rest) {
    struct process *p = arena_alloc(r->sc, sizeof *p), **at = &r->dev->processes;
    *p = (struct process){.gi = NO_INSTANCE, .ci = NO_INSTANCE, .used = ~0ull, .kind = 'c', .from = -INFINITY,
                          .to = INFINITY, .name = ""};
    while (*(rest += strspn(rest, " \t"))) {
        if (!strncmp(rest, "name=", 5)) {
            p->name = arena_text(r->sc, rest + 5);
            break;
        }
        char *key = word(&rest), *eq = strchr(key, '=');
        if (eq) *eq = 0;
        if (!eq || !process_part(p, key, eq + 1)) r->why = "no such part of a process";
    }
    while (*at) at = &(*at)->next;
    *at = p;
}

static const struct { const char *name; void (*run)(struct reader *, char *); } DIRECTIVES[] = {
    {"set", do_set}, {"from", do_from}, {"gpu", do_gpu}, {"mig", do_mig}, {"system", do_system},
    {"default", do_default}, {"epoch", do_epoch}, {"freeze", do_freeze}, {"lost", do_lost}, {"reload", do_reload},
    {"init", do_init}, {"event", do_event}, {"retired", do_retired}, {"fault", do_fault}, {"process", do_process},
};

static bool read_line(struct reader *r, char *line) {
    line[strcspn(line, "\r\n")] = 0;
    char *rest = line;
    char *name = word(&rest);
    if (!*name || *name == '#') return true;
    r->why = "no such directive";
    for (size_t i = 0; i < sizeof DIRECTIVES / sizeof *DIRECTIVES; i++)
        if (!strcmp(name, DIRECTIVES[i].name)) {
            r->why = NULL;
            DIRECTIVES[i].run(r, rest);
            break;
        }
    return !r->why;
}

struct scenario *scenario_load(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) return NULL;
    struct scenario *sc = calloc(1, sizeof *sc);
    if (!sc) abort();
    sc->system.default_error = NOT_SUPPORTED;
    struct reader r = {.sc = sc, .dev = &sc->system};
    char *line = NULL;
    size_t room = 0;
    bool fine = true;
    for (u32 n = 1; getline(&line, &room, file) >= 0; n++) {
        if (read_line(&r, line)) continue;
        fprintf(stderr, "nvml_sim: %s:%u: %s\n", path, n, r.why);
        fine = false;
    }
    free(line);
    fclose(file);
    if (fine) return sc;
    arena_free(sc);
    return NULL;
}
