/* SPDX-License-Identifier: Apache-2.0
 * Open-addressed table from field name to value, one per device. */
#include <string.h>
#include "sim.h"

static struct entry *find(const struct device *dev, const char *name) {
    u32 hash = 2166136261u;
    for (const char *s = name; *s; s++) hash = (hash ^ (unsigned char)*s) * 16777619u;
    u32 i = hash & (dev->capacity - 1);
    while (dev->table[i].name && strcmp(dev->table[i].name, name)) i = (i + 1) & (dev->capacity - 1);
    return &dev->table[i];
}

static void grow(struct scenario *sc, struct device *dev) {
    struct device bigger = *dev;
    bigger.capacity = dev->capacity ? dev->capacity * 2 : 64;
    bigger.table = arena_alloc(sc, bigger.capacity * sizeof *bigger.table);
    for (u32 i = 0; i < dev->capacity; i++)
        if (dev->table[i].name) *find(&bigger, dev->table[i].name) = dev->table[i];
    *dev = bigger;
}

void table_put(struct scenario *sc, struct device *dev, const char *name, struct spec *spec) {
    if (dev->entries * 2 >= dev->capacity) grow(sc, dev);
    struct entry *e = find(dev, name);
    if (!e->name) {
        e->name = arena_text(sc, name);
        dev->entries++;
    }
    struct spec **at = &e->spec;
    while (*at && (*at)->from < spec->from) at = &(*at)->next;
    if (*at && (*at)->from == spec->from) spec->next = (*at)->next;
    else spec->next = *at;
    *at = spec;
}

const struct spec *table_find(const struct device *dev, const char *name) {
    return dev->capacity ? find(dev, name)->spec : NULL;
}
