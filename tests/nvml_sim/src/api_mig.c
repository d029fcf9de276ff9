/* SPDX-License-Identifier: Apache-2.0
 * MIG: instance handles, GPU instances, compute instances, profiles. An instance handle is its MIG device's handle. */
#include <stdio.h>
#include <string.h>
#include "sim.h"

SIM_API int nvmlDeviceGetMigDeviceHandleByIndex(device_h h, u32 index, device_h *out) {
    struct call c;
    u32 most;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetMigDeviceHandleByIndex", h);
    if (rc) return rc;
    if ((rc = read_u32(&c, "mig.max_count", &most))) return sim_leave(rc);
    if (index >= most || index >= MAX_MIG || c.dev->mig) return sim_leave(INVALID_ARGUMENT);
    const struct device *mig = c.sc->devices[c.dev->gpu][index + 1];
    if (!mig) return sim_leave(NOT_FOUND);
    *out = sim_handle(mig);
    return sim_leave(OK);
}

SIM_API int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device_h h, device_h *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", h);
    if (rc) return rc;
    if (!c.dev->mig) return sim_leave(INVALID_ARGUMENT);
    *out = sim_handle(sim_parent(&c, c.dev));
    return sim_leave(OK);
}

SIM_API int nvmlDeviceIsMigDeviceHandle(device_h h, u32 *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceIsMigDeviceHandle", h);
    if (rc) return rc;
    *out = c.dev->mig > 0;
    return sim_leave(OK);
}

SIM_API int nvmlDeviceGetGpuInstanceId(device_h h, u32 *out) {
    return get_u32("nvmlDeviceGetGpuInstanceId", h, "gpu_instance", out);
}

SIM_API int nvmlDeviceGetComputeInstanceId(device_h h, u32 *out) {
    return get_u32("nvmlDeviceGetComputeInstanceId", h, "compute_instance", out);
}

static struct call of(const struct call *c, struct device *dev) {
    return (struct call){.sc = c->sc, .dev = dev, .t = c->t};
}

/* The first MIG device of each GPU instance stands for that instance. */
static bool stands_for_instance(const struct call *c, u32 mig) {
    struct call self = of(c, c->sc->devices[c->dev->gpu][mig]);
    u64 id = read_or(&self, "gpu_instance", ~0ull);
    for (u32 m = 1; m < mig; m++) {
        struct call other = of(c, c->sc->devices[c->dev->gpu][m]);
        if (other.dev && read_or(&other, "gpu_instance", ~0ull) == id) return false;
    }
    return true;
}

SIM_API int nvmlDeviceGetGpuInstances(device_h h, u32 profile, gpu_instance_h *out, u32 *count) {
    struct call c;
    u32 most;
    if (!h || !out || !count) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetGpuInstances", h);
    if (rc) return rc;
    if ((rc = read_u32(&c, "mig.max_count", &most))) return sim_leave(rc);
    *count = 0;
    for (u32 m = 1; m <= MAX_MIG; m++) {
        struct call mig = of(&c, c.sc->devices[c.dev->gpu][m]);
        if (mig.dev && stands_for_instance(&c, m) && read_or(&mig, "gpu_instance_profile", ~0ull) == profile)
            out[(*count)++] = sim_handle(mig.dev);
    }
    return sim_leave(OK);
}

SIM_API int nvmlDeviceGetGpuInstanceById(device_h h, u32 id, gpu_instance_h *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlDeviceGetGpuInstanceById", h);
    if (rc) return rc;
    for (u32 m = 1; m <= MAX_MIG; m++) {
        struct call mig = of(&c, c.sc->devices[c.dev->gpu][m]);
        if (!mig.dev || read_or(&mig, "gpu_instance", ~0ull) != id) continue;
        *out = sim_handle(mig.dev);
        return sim_leave(OK);
    }
    return sim_leave(NOT_FOUND);
}

SIM_API int nvmlGpuInstanceGetInfo(gpu_instance_h h, gi_info *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlGpuInstanceGetInfo", h);
    if (rc) return rc;
    out->device = sim_handle(sim_parent(&c, c.dev));
    if (!(rc = read_u32(&c, "gpu_instance", &out->id))) rc = read_u32(&c, "gpu_instance_profile", &out->profile);
    out->place.start = (u32)read_or(&c, "placement.start", 0);
    out->place.size = (u32)read_or(&c, "placement.size", 0);
    return sim_leave(rc);
}

SIM_API int nvmlGpuInstanceGetComputeInstances(gpu_instance_h h, u32 profile, compute_instance_h *out, u32 *count) {
    struct call c;
    u64 id;
    if (!h || !out || !count) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlGpuInstanceGetComputeInstances", h);
    if (rc) return rc;
    if ((rc = read_u64(&c, "gpu_instance", &id))) return sim_leave(rc);
    *count = 0;
    for (u32 m = 1; m <= MAX_MIG; m++) {
        struct call mig = of(&c, c.sc->devices[c.dev->gpu][m]);
        if (mig.dev && read_or(&mig, "gpu_instance", ~0ull) == id &&
            read_or(&mig, "compute_instance_profile", ~0ull) == profile)
            out[(*count)++] = sim_handle(mig.dev);
    }
    return sim_leave(OK);
}

SIM_API int nvmlComputeInstanceGetInfo_v2(compute_instance_h h, ci_info *out) {
    struct call c;
    if (!h || !out) return INVALID_ARGUMENT;
    int rc = sim_enter(&c, "nvmlComputeInstanceGetInfo_v2", h);
    if (rc) return rc;
    memset(out, 0, sizeof *out);
    out->device = sim_handle(sim_parent(&c, c.dev));
    out->gi = h;
    if (!(rc = read_u32(&c, "compute_instance", &out->id)))
        rc = read_u32(&c, "compute_instance_profile", &out->profile);
    return sim_leave(rc);
}

static int profile_number(const struct call *c, u32 profile, const char *what, u32 *out) {
    char name[64];
    snprintf(name, sizeof name, "gi_profile.%u.%s", profile, what);
    return read_u32(c, name, out);
}

static int profile_of(const char *function, device_h h, u32 profile, gi_profile_v2 *out) {
    struct call c;
    char name[64];
    const char *text;
    int rc = sim_enter(&c, function, h);
    if (rc) return rc;
    const struct { const char *what; u32 *at; } parts[] = {
        {"id", &out->id}, {"p2p", &out->p2p}, {"slices", &out->slices}, {"instances", &out->instances},
        {"multiprocessors", &out->sms}, {"copy_engines", &out->copy_engines}, {"decoders", &out->decoders},
        {"encoders", &out->encoders}, {"jpegs", &out->jpegs}, {"ofas", &out->ofas}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !rc; i++)
        rc = profile_number(&c, profile, parts[i].what, parts[i].at);
    u32 memory = 0;
    if (!rc) rc = profile_number(&c, profile, "memory_mb", &memory);
    out->memory_mb = memory;
    snprintf(name, sizeof name, "gi_profile.%u.name", profile);
    if (!rc && !(rc = read_text(&c, name, &text))) rc = copy_text(text, out->name, sizeof out->name);
    return sim_leave(rc);
}

SIM_API int nvmlDeviceGetGpuInstanceProfileInfoV(device_h h, u32 profile, gi_profile_v2 *out) {
    if (!h || !out || profile > 0x11) return INVALID_ARGUMENT;
    if (out->version != VERSIONED(2, gi_profile_v2)) return ARGUMENT_VERSION_MISMATCH;
    return profile_of("nvmlDeviceGetGpuInstanceProfileInfoV", h, profile, out);
}

SIM_API int nvmlDeviceGetGpuInstanceProfileInfo(device_h h, u32 profile, gi_profile *out) {
    gi_profile_v2 all;
    if (!h || !out || profile > 0x11) return INVALID_ARGUMENT;
    int rc = profile_of("nvmlDeviceGetGpuInstanceProfileInfo", h, profile, &all);
    if (!rc)
        *out = (gi_profile){all.id, all.p2p, all.slices, all.instances, all.sms, all.copy_engines, all.decoders,
                            all.encoders, all.jpegs, all.ofas, all.memory_mb};
    return rc;
}
