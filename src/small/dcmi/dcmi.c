// SPDX-License-Identifier: Apache-2.0
/* Device management: every virtual device is a card with one device, near to the CPUs that this process may
 * use. As with the hardware it knows nothing of ASCEND_RT_VISIBLE_DEVICES: cards are the host's, and callers
 * translate (aclrtGetLogicDevIdByUserDevId). */
#include <sched.h>
#include <stdio.h>

#include "hc_device.h"

/* The interface's own number; its functions leave no text. */
enum { BAD_PARAMETER = -8001 };

HC_API int dcmi_init(void);
HC_API int dcmi_get_card_num_list(int *count, int *cards, int room);
HC_API int dcmi_get_device_id_in_card(int card, int *devices, int *mcu, int *cpu);
HC_API int dcmi_get_affinity_cpu_info_by_device_id(int card, int device, char *text, int *length);

int dcmi_init(void) { return 0; }

/* Cards are numbered like devices. `room` is the length of `cards`. */
int dcmi_get_card_num_list(int *count, int *cards, int room) {
    const int have = hc_device_physical_count();
    if (count == NULL || cards == NULL || room < have) return BAD_PARAMETER;
    for (int i = 0; i < have; i++) cards[i] = i;
    *count = have;
    return 0;
}

int dcmi_get_device_id_in_card(int card, int *devices, int *mcu, int *cpu) {
    if (card < 0 || card >= hc_device_physical_count() || devices == NULL || mcu == NULL || cpu == NULL)
        return BAD_PARAMETER;
    *devices = 1;
    *mcu = *cpu = -1; /* none */
    return 0;
}

/* As "0-3,8-11". */
int dcmi_get_affinity_cpu_info_by_device_id(int card, int device, char *text, int *length) {
    cpu_set_t set;
    char all[1024];
    int used = 0;
    if (card < 0 || card >= hc_device_physical_count() || device != 0 || text == NULL || length == NULL)
        return BAD_PARAMETER;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return BAD_PARAMETER;
    for (int first = 0; first < CPU_SETSIZE && used < (int)sizeof all - 32; first++) {
        if (!CPU_ISSET(first, &set)) continue;
        int last = first;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) last++;
        used += sprintf(all + used, "%s%d-%d", used > 0 ? "," : "", first, last);
        first = last;
    }
    if (used >= *length) return BAD_PARAMETER;
    *length = sprintf(text, "%s", all);
    return 0;
}
