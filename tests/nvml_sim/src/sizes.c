/* SPDX-License-Identifier: Apache-2.0
 * Sizes of the ABI structs by name, for the test that compares them with pynvml's. */
#include <string.h>
#include "sim.h"

#define SIZE(type) {#type, sizeof(type)}

SIM_API int gpufleet_sim_sizeof(const char *name) {
    static const struct { const char *name; size_t size; } SIZES[] = {
        SIZE(pci_info), SIZE(memory_v1), SIZE(memory_v2), SIZE(bar1_memory), SIZE(utilization), SIZE(process_info),
        SIZE(process_detail), SIZE(process_detail_list), SIZE(process_sample), SIZE(process_util),
        SIZE(process_util_list), SIZE(value_union), SIZE(sample), SIZE(field_value), SIZE(margin_temperature),
        SIZE(temperature_v1), SIZE(fan_speed_info), SIZE(ecc_counts), SIZE(remap_histogram), SIZE(sram_status),
        SIZE(platform_info), SIZE(fabric_info), SIZE(fabric_v2), SIZE(fabric_v3), SIZE(attributes), SIZE(event_data),
        SIZE(gpm_metric), SIZE(gpm_support), SIZE(gi_info), SIZE(ci_info), SIZE(gi_profile), SIZE(gi_profile_v2),
    };
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++)
        if (!strcmp(SIZES[i].name, name)) return (int)SIZES[i].size;
    return -1;
}
