/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include "sim.h"

struct chunk { struct chunk *next; size_t used, size; char data[]; };

void *arena_alloc(struct scenario *sc, size_t size) {
    size = (size + 15) & ~(size_t)15;
    struct chunk *c = sc->memory;
    if (!c || c->used + size > c->size) {
        size_t room = size > 65536 ? size : 65536;
        c = calloc(1, sizeof *c + room);
        if (!c) abort();
        c->size = room;
        c->next = sc->memory;
        sc->memory = c;
    }
    void *p = c->data + c->used;
    c->used += size;
    return p;
}

char *arena_text(struct scenario *sc, const char *text) {
    size_t n = strlen(text) + 1;
    return memcpy(arena_alloc(sc, n), text, n);
}

void arena_free(struct scenario *sc) {
    for (struct chunk *c = sc->memory, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(sc);
}
