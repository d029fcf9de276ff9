/* SPDX-License-Identifier: Apache-2.0
 * The part of the NVML C ABI that the simulated driver speaks: codes, and the layout of every struct that crosses it.
 * test_abi.py holds each size against the ctypes declarations of pynvml. */
#ifndef SIM_ABI_H
#define SIM_ABI_H

typedef unsigned int u32;
typedef unsigned long long u64;

enum rc {
    OK = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, NO_DATA = 21,
    ARGUMENT_VERSION_MISMATCH = 25, UNKNOWN = 999
};
enum value_type { VT_DOUBLE = 0, VT_UINT = 1, VT_ULL = 3, VT_SIGNED = 5 };

#define VERSIONED(v, type) (((u32)(v) << 24) | (u32)sizeof(type))
#define NO_INSTANCE 0xFFFFFFFFu
#define EVENT_XID 0x8ull

typedef struct slot *device_h;
typedef struct slot *gpu_instance_h;
typedef struct slot *compute_instance_h;

typedef struct { char bus_id_legacy[16]; u32 domain, bus, device, pci_device_id, pci_subsystem_id; char bus_id[32]; } pci_info;
typedef struct { u64 total, free, used; } memory_v1;
typedef struct { u32 version; u64 total, reserved, free, used; } memory_v2;
typedef struct { u64 total, free, used; } bar1_memory;
typedef struct { u32 gpu, memory; } utilization;
typedef struct { u32 pid; u64 used_memory; u32 gpu_instance, compute_instance; } process_info;
typedef struct { u32 pid; u64 used_memory; u32 gpu_instance, compute_instance; u64 protected_memory; } process_detail;
typedef struct { u32 version, mode, count; process_detail *list; } process_detail_list;
typedef struct { u32 pid; u64 time; u32 sm, mem, enc, dec; } process_sample;
typedef struct { u64 time; u32 pid, sm, mem, enc, dec, jpg, ofa; } process_util;
typedef struct { u32 version, count; u64 last_seen; process_util *list; } process_util_list;
typedef union { double d; u32 ui; unsigned long ul; u64 ull; long long sll; int si; unsigned short us; } value_union;
typedef struct { u64 time; value_union value; } sample;
typedef struct { u32 field, scope; long long time, latency; u32 type; u32 rc; value_union value; } field_value;
typedef struct { u32 version; int margin; } margin_temperature;
typedef struct { u32 version, sensor; int temperature; } temperature_v1;
typedef struct { u32 version, fan, speed; } fan_speed_info;
typedef struct { u64 l1, l2, dram, register_file; } ecc_counts;
typedef struct { u32 max, high, partial, low, none; } remap_histogram;
typedef struct {
    u32 version;
    u64 agg_parity, agg_secded, agg_cor, vol_parity, vol_secded, vol_cor;
    u64 bucket_l2, bucket_sm, bucket_pcie, bucket_mcu, bucket_other;
    u32 threshold_exceeded;
} sram_status;
typedef struct {
    u32 version;
    unsigned char ib_guid[16], chassis_serial[16];
    unsigned char slot_number, tray_index, host_id, peer_type, module_id;
} platform_info;
typedef struct { unsigned char cluster[16]; u32 status, clique, state; } fabric_info;
typedef struct { u32 version; unsigned char cluster[16]; u32 status, clique, state, health_mask; } fabric_v2;
typedef struct {
    u32 version;
    unsigned char cluster[16];
    u32 status, clique, state, health_mask;
    unsigned char health_summary;
} fabric_v3;
typedef struct { u32 sms, copy_engines, decoders, encoders, jpegs, ofas, gi_slices, ci_slices; u64 memory_mb; } attributes;
typedef struct { device_h device; u64 type, data; u32 gpu_instance, compute_instance; } event_data;
typedef struct { const char *short_name, *long_name, *unit; } metric_info;
typedef struct { u32 id, rc; double value; metric_info info; } gpm_metric;
typedef struct { u32 version, count; struct gpm_sample *first, *second; gpm_metric metrics[]; } gpm_request;
typedef struct { u32 version, supported; } gpm_support;
typedef struct { u32 start, size; } placement;
typedef struct { device_h device; u32 id, profile; placement place; } gi_info;
typedef struct { device_h device; gpu_instance_h gi; u32 id, profile; placement place; } ci_info;
typedef struct { u32 id, p2p, slices, instances, sms, copy_engines, decoders, encoders, jpegs, ofas; u64 memory_mb; } gi_profile;
typedef struct {
    u32 version, id, p2p, slices, instances, sms, copy_engines, decoders, encoders, jpegs, ofas;
    u64 memory_mb;
    char name[96];
} gi_profile_v2;

#endif
