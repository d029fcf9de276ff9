/* SPDX-License-Identifier: Apache-2.0
 * Field values and the driver's ring buffers of samples. */
#include <math.h>
#include <string.h>
#include "sim.h"

/* Fields that say the same as another call: taken from there unless the scenario sets field.N itself. */
static const char *alias_of(u32 field) {
    static const char *const NAMES[] = {
        [1] = "ecc_mode.current", [2] = "ecc_mode.pending",
        [3] = "ecc.corrected.volatile.total", [4] = "ecc.uncorrected.volatile.total",
        [5] = "ecc.corrected.aggregate.total", [6] = "ecc.uncorrected.aggregate.total",
        [31] = "retired.pending", [82] = "memory_temperature_c", [83] = "energy_mj", [91] = "nvlink.count",
        [94] = "pcie.replay",
        [142] = "remap.correctable", [143] = "remap.uncorrectable", [144] = "remap.pending", [145] = "remap.failed",
        [185] = "power_usage_mw", [186] = "power_instant_mw",
        [187] = "power_min_limit_mw", [188] = "power_max_limit_mw", [189] = "power_default_limit_mw",
        [190] = "power_enforced_limit_mw", [192] = "power_limit_mw",
    };
    return field < sizeof NAMES / sizeof *NAMES ? NAMES[field] : NULL;
}

static bool between(u32 v, u32 low, u32 high) { return low <= v && v <= high; }

static int type_of(u32 field) {
    if (between(field, 193, 196)) return VT_SIGNED;
    bool wide = between(field, 3, 28) || between(field, 32, 73) || between(field, 74, 81) || field == 83 ||
                between(field, 96, 131) || between(field, 138, 141) || between(field, 148, 163) ||
                between(field, 173, 183) || between(field, 197, 198) || between(field, 201, 222) ||
                between(field, 235, 250) || between(field, 269, 271);
    return wide ? VT_ULL : VT_UINT;
}

static char *put_decimal(char *out, u32 v) {
    char digits[12];
    int n = 0;
    do digits[n++] = (char)('0' + v % 10); while (v /= 10);
    while (n) *out++ = digits[--n];
    *out = 0;
    return out;
}

/* field.N.SCOPE first (all links: field.N.all), then field.N where no link was asked for, then the alias. */
static const char *name_of(const struct call *c, u32 field, u32 scope, char *name) {
    memcpy(name, "field.", 6);
    char *end = put_decimal(name + 6, field);
    *end = '.';
    if (scope == ~0u) memcpy(end + 1, "all", 4);
    else put_decimal(end + 1, scope);
    if (table_find(c->dev, name)) return name;
    *end = 0;
    bool unscoped = scope == 0 || scope == ~0u;
    if (unscoped && table_find(c->dev, name)) return name;
    const char *alias = unscoped ? alias_of(field) : NULL;
    return alias && table_find(c->dev, alias) ? alias : name;
}

/* A narrow value leaves the upper half of the union as it was, as a driver may. */
static void put_value(field_value *out, struct number n) {
    if (out->type == VT_DOUBLE) out->value.d = n.d;
    else if (out->type == VT_ULL) out->value.ull = n.u;
    else if (out->type == VT_SIGNED) out->value.si = (int)n.u;
    else out->value.ui = (u32)n.u;
}

static void read_field(const struct call *c, field_value *out) {
    char name[48];
    struct number n;
    const char *found = name_of(c, out->field, out->scope, name);
    out->time = (long long)((c->sc->epoch + c->t) * 1e6);
    out->latency = 0;
    out->rc = (u32)read_number(c, found, &n);
    if (out->rc) return;
    const struct spec *s = spec_at(table_find(c->dev, found), c->t);
    out->type = (u32)(s->type >= 0 ? s->type : type_of(out->field));
    put_value(out, n);
}

SIM_API int nvmlDeviceGetFieldValues(device_h h, int count, field_value *values) {
    struct call c;
    if (!h || count < 1 || !values) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetFieldValues", h);
    if (rc) return rc;
    for (int i = 0; i < count; i++) read_field(&c, &values[i]);
    return sim_leave(OK);
}

static const char *const SAMPLED[] = {
    "power_usage_mw", "util.gpu", "util.memory", "util.encoder", "util.decoder",
    "clock.sm", "clock.mem", "module_power_mw", "util.jpg", "util.ofa"};

struct ring { u64 first, last, period; u32 room; };

/* The newest `room` ticks of the period up to now; times are microseconds of the wall clock. */
static struct ring ring_of(const struct call *c) {
    struct ring r = {.period = read_or(c, "samples.period_us", 166667), .room = (u32)read_or(c, "samples.room", 120)};
    u64 now = (u64)((c->sc->epoch + c->t) * 1e6);
    r.last = now / r.period;
    r.first = r.last - r.room + 1;
    return r;
}

static u32 fill(const struct call *c, const char *name, u64 last_seen, u32 room, sample *out) {
    const struct spec *all = table_find(c->dev, name);
    struct ring r = ring_of(c);
    u64 unseen = last_seen / r.period + 1;
    if (last_seen && unseen > r.first) r.first = unseen;
    u32 n = 0;
    for (u64 tick = r.first; tick <= r.last && n < room; tick++) {
        double t = (double)(tick * r.period) * 1e-6 - c->sc->epoch;
        const struct spec *s = spec_at(all, t);
        if (!s || s->kind == K_ERROR) continue;
        out[n].time = tick * r.period;
        out[n++].value.ull = (u32)spec_number(s, t, 0).u;
    }
    return n;
}

SIM_API int nvmlDeviceGetSamples(device_h h, u32 type, u64 last_seen, u32 *value_type, u32 *count, sample *out) {
    struct call c;
    struct number n;
    if (!h || type >= sizeof SAMPLED / sizeof *SAMPLED || !value_type || !count) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetSamples", h);
    if (rc) return rc;
    if ((rc = read_number(&c, SAMPLED[type], &n))) return sim_leave(rc);
    *value_type = VT_UINT;
    if (out) *count = fill(&c, SAMPLED[type], last_seen, *count, out);
    else *count = ring_of(&c).room;
    return sim_leave(*count ? OK : NOT_FOUND);
}
