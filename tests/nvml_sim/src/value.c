/* SPDX-License-Identifier: Apache-2.0
 * Values over time: parsing, the value at a moment, the mean over an interval. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "sim.h"

static const struct { const char *name; int code; } CODES[] = {
    {"success", 0}, {"uninitialized", 1}, {"invalid_argument", 2}, {"not_supported", 3}, {"no_permission", 4},
    {"already_initialized", 5}, {"not_found", 6}, {"insufficient_size", 7}, {"insufficient_power", 8},
    {"driver_not_loaded", 9}, {"timeout", 10}, {"irq_issue", 11}, {"library_not_found", 12},
    {"function_not_found", 13}, {"corrupted_inforom", 14}, {"gpu_is_lost", 15}, {"reset_required", 16},
    {"operating_system", 17}, {"lib_rm_version_mismatch", 18}, {"in_use", 19}, {"memory", 20}, {"no_data", 21},
    {"vgpu_ecc_not_supported", 22}, {"insufficient_resources", 23}, {"freq_not_supported", 24},
    {"argument_version_mismatch", 25}, {"deprecated", 26}, {"not_ready", 27}, {"gpu_not_found", 28},
    {"invalid_state", 29}, {"reset_type_not_supported", 30}, {"unknown", 999},
};

int code_of(const char *name) {
    for (size_t i = 0; i < sizeof CODES / sizeof *CODES; i++)
        if (!strcasecmp(name, CODES[i].name)) return CODES[i].code;
    char *end;
    long n = strtol(name, &end, 0);
    return *name && !*end ? (int)n : -1;
}

static const struct { const char *name; enum kind kind; u32 least; } KINDS[] = {
    {"int", K_INT, 1}, {"real", K_REAL, 1}, {"linear", K_LINEAR, 2}, {"sine", K_SINE, 3}, {"pulse", K_PULSE, 4},
    {"steps", K_STEPS, 1}, {"counter", K_COUNTER, 2}, {"error", K_ERROR, 1},
};

static u64 whole(const char *s) { return *s == '-' ? (u64)strtoll(s, NULL, 0) : strtoull(s, NULL, 0); }

static const char *parse_steps(struct scenario *sc, struct spec *s, char **word, u32 n) {
    s->list = arena_alloc(sc, n * 2 * sizeof(double));
    for (u32 i = 0; i < n; i++)
        if (sscanf(word[i], "%lf:%lf", &s->list[2 * i], &s->list[2 * i + 1]) != 2) return "a step is TIME:VALUE";
    s->count = n;
    return NULL;
}

static const char *parse_counter(struct scenario *sc, struct spec *s, char **word, u32 n) {
    s->whole = whole(word[0]);
    s->a[0] = atof(word[1]);
    s->list = arena_alloc(sc, n * sizeof(double));
    for (u32 i = 2; i < n; i++) {
        if (!strncmp(word[i], "wrap=", 5)) s->wrap = (u32)atoi(word[i] + 5);
        else if (!strncmp(word[i], "reset=", 6)) s->list[s->count++] = atof(word[i] + 6);
        else if (!strcmp(word[i], "keep")) s->keep = true;
        else return "a counter takes wrap=, reset= and keep";
    }
    return NULL;
}

static const char *parse_words(struct scenario *sc, struct spec *s, char **word, u32 n) {
    if (s->kind == K_STEPS) return parse_steps(sc, s, word, n);
    if (s->kind == K_COUNTER) return parse_counter(sc, s, word, n);
    if (s->kind == K_INT) s->whole = whole(word[0]);
    if (s->kind == K_ERROR) {
        int code = code_of(word[0]);
        s->whole = (u64)code;
        return code < 0 ? "no such error" : NULL;
    }
    for (u32 i = 0; i < n && i < 4; i++) s->a[i] = atof(word[i]);
    return NULL;
}

static int parse_type(const char *word) {
    if (!strcmp(word, "double")) return VT_DOUBLE;
    if (!strcmp(word, "uint")) return VT_UINT;
    return strcmp(word, "signed") ? VT_ULL : VT_SIGNED;
}

struct spec *spec_parse(struct scenario *sc, char *text, const char **why) {
    struct spec *s = arena_alloc(sc, sizeof *s);
    char *word[256], *save = NULL;
    u32 n = 0;
    s->type = -1;
    text += strspn(text, " \t");
    if (!strncmp(text, "as=", 3)) {
        s->type = parse_type(strtok_r(text + 3, " \t", &save));
        text = save + strspn(save, " \t");
    }
    if (!strncmp(text, "text", 4) && (text[4] == ' ' || !text[4])) {
        s->kind = K_TEXT;
        s->text = arena_text(sc, text[4] ? text + 5 : "");
        return s;
    }
    for (char *w = strtok_r(text, " \t", &save); w && n < 256; w = strtok_r(NULL, " \t", &save)) word[n++] = w;
    *why = "no such kind of value, or too few numbers for it";
    for (size_t i = 0; n && i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(word[0], KINDS[i].name) || n <= KINDS[i].least) continue;
        s->kind = KINDS[i].kind;
        *why = parse_words(sc, s, word + 1, n - 1);
        return *why ? NULL : s;
    }
    return NULL;
}

const struct spec *spec_at(const struct spec *spec, double t) {
    if (!spec || (spec->from > t && spec->from > -INFINITY)) return NULL;
    while (spec->next && spec->next->from <= t) spec = spec->next;
    return spec;
}

static double step_at(const struct spec *s, double t) {
    double v = s->list[1];
    for (u32 i = 0; i < s->count && s->list[2 * i] <= t; i++) v = s->list[2 * i + 1];
    return v;
}

static double pulse_area(const struct spec *s, double t) {
    double period = s->a[2], on = s->a[3] * period, into = t - floor(t / period) * period;
    return s->a[0] * t + (s->a[1] - s->a[0]) * (floor(t / period) * on + (into < on ? into : on));
}

static u64 counter_at(const struct spec *s, double t, double origin) {
    double since = 0;
    u64 start = s->whole;
    if (!s->keep && origin > since) since = origin, start = 0;
    for (u32 i = 0; i < s->count; i++)
        if (s->list[i] <= t && s->list[i] >= since) since = s->list[i], start = 0;
    double grown = floor((t - since) * s->a[0] + 1e-6);
    u64 v = start + (u64)(long long)grown;
    return s->wrap && s->wrap < 64 ? v & ((1ull << s->wrap) - 1) : v;
}

static double smooth_at(const struct spec *s, double t) {
    switch (s->kind) {
    case K_LINEAR: return s->a[0] + s->a[1] * t;
    case K_SINE: return s->a[0] + s->a[1] * sin(2 * M_PI * t / s->a[2] + s->a[3]);
    case K_PULSE: return t - floor(t / s->a[2]) * s->a[2] < s->a[3] * s->a[2] ? s->a[1] : s->a[0];
    case K_STEPS: return step_at(s, t);
    default: return s->a[0];
    }
}

struct number spec_number(const struct spec *s, double t, double origin) {
    struct number n;
    if (s->kind == K_INT || s->kind == K_COUNTER) {
        n.u = s->kind == K_INT ? s->whole : counter_at(s, t, origin);
        n.d = s->kind == K_INT ? (double)(long long)n.u : (double)n.u;
    } else {
        n.d = smooth_at(s, t);
        n.u = n.d < 9e18 ? (u64)llround(n.d) : (u64)n.d;
    }
    return n;
}

static double steps_area(const struct spec *s, double t0, double t1) {
    double sum = 0;
    for (u32 i = 0; i <= s->count; i++) {
        double a = i ? s->list[2 * i - 2] : -INFINITY, b = i < s->count ? s->list[2 * i] : INFINITY;
        double lo = a > t0 ? a : t0, hi = b < t1 ? b : t1;
        if (hi > lo) sum += (hi - lo) * s->list[i ? 2 * i - 1 : 1];
    }
    return sum;
}

double spec_mean(const struct spec *s, double t0, double t1) {
    double dt = t1 - t0;
    if (dt <= 0) return spec_number(s, t1, 0).d;
    if (s->kind == K_STEPS) return steps_area(s, t0, t1) / dt;
    if (s->kind == K_PULSE) return (pulse_area(s, t1) - pulse_area(s, t0)) / dt;
    if (s->kind == K_SINE) {
        double w = 2 * M_PI / s->a[2];
        return s->a[0] + s->a[1] * (cos(w * t0 + s->a[3]) - cos(w * t1 + s->a[3])) / (w * dt);
    }
    return spec_number(s, (t0 + t1) / 2, 0).d;
}
