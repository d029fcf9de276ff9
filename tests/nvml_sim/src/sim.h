/* SPDX-License-Identifier: Apache-2.0
 * Inside of the simulated driver: values, the scenario they come from, and the gate every call passes. */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include "abi.h"

#define MAX_GPUS 64
#define MAX_MIG 16
#define SIM_API __attribute__((visibility("default")))

enum kind { K_TEXT, K_INT, K_REAL, K_LINEAR, K_SINE, K_PULSE, K_STEPS, K_COUNTER, K_ERROR };

/* One value over time; `next` takes over at its own `from`. */
struct spec {
    enum kind kind;
    double from;
    int type;               /* enum value_type asked for with as=, or -1 */
    u64 whole;              /* int, counter start, error code */
    double a[4];
    const char *text;
    double *list;           /* steps: t, v pairs; counter: reset times */
    u32 count;
    u32 wrap;               /* counter: bits */
    bool keep;              /* counter: survives a driver reload */
    struct spec *next;
};

struct entry { const char *name; struct spec *spec; };
struct process {
    u32 pid, gi, ci, sm, mem, enc, dec, jpg, ofa;
    u64 used;
    char kind;              /* c, g or m */
    double from, to;
    const char *name;
    struct process *next;
};
struct event { double at; u64 type, data; u32 gi, ci; struct event *next; };
struct page { bool double_bit; u64 address, time; struct page *next; };
enum action { A_ERROR, A_HANG, A_LATENCY, A_SEGV };
struct fault { const char *target; enum action action; double arg, from, to; struct fault *next; };
struct window { double from, to; u32 code; struct window *next; };

struct device {
    bool used;
    u32 gpu, mig;           /* mig: 0 is the GPU itself, n its nth instance */
    u32 default_error;
    u32 entries, capacity;
    struct entry *table;
    struct process *processes;
    struct event *events;   /* by time */
    struct page *pages;
    struct fault *faults;
    struct window *lost;    /* code 1: not counted while lost */
};

struct scenario {
    double epoch, frozen;
    bool is_frozen;
    u32 gpus;
    struct device system;
    struct device *devices[MAX_GPUS][1 + MAX_MIG];
    struct window *reloads, *init_fails;
    struct chunk *memory;
};

struct slot { char unused[16]; };

struct call { struct scenario *sc; struct device *dev; double t; };
struct number { double d; u64 u; };

/* arena.c */
void *arena_alloc(struct scenario *sc, size_t size);
char *arena_text(struct scenario *sc, const char *text);
void arena_free(struct scenario *sc);

/* value.c */
struct spec *spec_parse(struct scenario *sc, char *text, const char **why);
const struct spec *spec_at(const struct spec *spec, double t);
struct number spec_number(const struct spec *spec, double t, double origin);
double spec_mean(const struct spec *spec, double t0, double t1);
int code_of(const char *name);

/* table.c */
void table_put(struct scenario *sc, struct device *dev, const char *name, struct spec *spec);
const struct spec *table_find(const struct device *dev, const char *name);

/* parse.c */
struct scenario *scenario_load(const char *path);

/* live.c: the current scenario, reread when its file changes; all under one lock */
void sim_lock(void);
void sim_unlock(void);
struct scenario *sim_current(bool at_once);
double sim_time(const struct scenario *sc);
void sim_sleep(double seconds);

/* gate.c */
int sim_init(void);
int sim_shutdown(void);
u32 sim_generation(void);
int sim_enter(struct call *c, const char *function, const void *handle);
int sim_leave(int rc);
bool sim_is_lost(const struct call *c, const struct device *dev, bool *hidden);
device_h sim_handle(const struct device *dev);
struct device *sim_parent(const struct call *c, const struct device *dev);
double sim_origin(const struct call *c);

/* read.c: values of the device of a call */
int read_number(const struct call *c, const char *name, struct number *out);
int read_u32(const struct call *c, const char *name, u32 *out);
int read_u64(const struct call *c, const char *name, u64 *out);
u64 read_or(const struct call *c, const char *name, u64 otherwise);
int read_text(const struct call *c, const char *name, const char **out);
int read_bytes(const struct call *c, const char *name, unsigned char *out, size_t size);
int fault_code(const struct call *c, const char *target);
int get_u32(const char *function, device_h h, const char *name, u32 *out);
int get_u64(const char *function, device_h h, const char *name, u64 *out);
int get_text(const char *function, device_h h, const char *name, char *out, u32 size);
int get_pair(const char *function, device_h h, const char *first, const char *second, u32 *a, u32 *b);
int copy_text(const char *text, char *out, u32 size);

/* ECC counter name of an error type, counter type and place */
int ecc_name(char *out, size_t size, u32 error, u32 counter, const char *place);

#endif
