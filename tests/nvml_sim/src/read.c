/* SPDX-License-Identifier: Apache-2.0
 * From a field's name to its value or its error, and the commonest shapes of getters. */
#include <stdio.h>
#include <string.h>
#include "sim.h"

static int find(const struct call *c, const char *name, const struct spec **out) {
    int rc = c->dev->faults || c->sc->system.faults ? fault_code(c, name) : OK;
    if (rc) return rc;
    *out = spec_at(table_find(c->dev, name), c->t);
    if (!*out) return (int)c->dev->default_error;
    return (*out)->kind == K_ERROR ? (int)(*out)->whole : OK;
}

int read_number(const struct call *c, const char *name, struct number *out) {
    const struct spec *s;
    int rc = find(c, name, &s);
    if (!rc) *out = spec_number(s, c->t, s->kind == K_COUNTER ? sim_origin(c) : 0);
    return rc;
}

int read_u64(const struct call *c, const char *name, u64 *out) {
    struct number n;
    int rc = read_number(c, name, &n);
    if (!rc) *out = n.u;
    return rc;
}

int read_u32(const struct call *c, const char *name, u32 *out) {
    struct number n;
    int rc = read_number(c, name, &n);
    if (!rc) *out = (u32)n.u;
    return rc;
}

u64 read_or(const struct call *c, const char *name, u64 otherwise) {
    u64 v;
    return read_u64(c, name, &v) ? otherwise : v;
}

int read_text(const struct call *c, const char *name, const char **out) {
    const struct spec *s;
    int rc = find(c, name, &s);
    if (!rc) *out = s->kind == K_TEXT ? s->text : "";
    return rc;
}

/* Text as such, or hexadecimal digits after 0x. */
int read_bytes(const struct call *c, const char *name, unsigned char *out, size_t size) {
    const char *text;
    int rc = read_text(c, name, &text);
    if (rc) return rc;
    memset(out, 0, size);
    if (strncmp(text, "0x", 2)) {
        memcpy(out, text, strnlen(text, size));
        return OK;
    }
    for (size_t i = 0; i < size && sscanf(text + 2 + 2 * i, "%2hhx", &out[i]) == 1; i++) {}
    return OK;
}

int copy_text(const char *text, char *out, u32 size) {
    size_t n = strlen(text) + 1;
    if (n > size) return INSUFFICIENT_SIZE;
    memcpy(out, text, n);
    return OK;
}

int get_u32(const char *function, device_h h, const char *name, u32 *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    return rc ? rc : sim_leave(read_u32(&c, name, out));
}

int get_u64(const char *function, device_h h, const char *name, u64 *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    return rc ? rc : sim_leave(read_u64(&c, name, out));
}

int get_text(const char *function, device_h h, const char *name, char *out, u32 size) {
    struct call c;
    const char *text;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    if (!(rc = read_text(&c, name, &text))) rc = copy_text(text, out, size);
    return sim_leave(rc);
}

int get_pair(const char *function, device_h h, const char *first, const char *second, u32 *a, u32 *b) {
    struct call c;
    if (!h || !a || !b) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    if (!(rc = read_u32(&c, first, a))) rc = read_u32(&c, second, b);
    return sim_leave(rc);
}
