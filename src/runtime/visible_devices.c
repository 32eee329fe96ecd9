// SPDX-License-Identifier: Apache-2.0
/* ASCEND_RT_VISIBLE_DEVICES: which of the host's devices this process sees, and in which order.
 *
 * Entry i of the list is the physical id of device i. The interface drops a bad entry and all behind it
 * without a word; here it is an error, as the program would otherwise run on fewer devices than it asked for.
 */
#include <errno.h>
#include <stdlib.h>

#include "hc_device.h"
#include "hc_error.h"
#include "hc_option.h"

int32_t hc_device_physical_count(void) {
    return (int32_t)hc_min_i64(hc_option_int(HC_OPT_NUM_DEVICES), HC_MAX_DEVICES);
}

static int bad_list(const char *list, const char *at, const char *why, int32_t total) {
    enum { BAD_OPTION = 100000 /* ACL_ERROR_INVALID_PARAM */ };
    int length = 0;
    while (at[length] != '\0' && at[length] != ',') length++;
    return hc_fail(BAD_OPTION,
                   "%s=%s: '%.*s' %s: expected device ids from 0 to %d (%s is %d), each once, separated by "
                   "commas; empty for no device",
                   hc_option_env_name(HC_OPT_VISIBLE_DEVICES), list, length, at, why, total - 1,
                   hc_option_env_name(HC_OPT_NUM_DEVICES), total);
}

/* The entry at `at`, which ends at a comma or at the end of the list; NULL or why it is none. */
static const char *parse_entry(const char *at, int32_t total, int32_t *id, const char **end) {
    errno = 0;
    char *behind = NULL;
    const long long value = *at >= '0' && *at <= '9' ? strtoll(at, &behind, 10) : -1;
    if (behind == NULL || (*behind != ',' && *behind != '\0')) return "is no device id";
    if (errno != 0 || value >= total) return "is out of range";
    *id = (int32_t)value;
    *end = behind;
    return NULL;
}

static int parse_list(const char *list, int32_t total, int32_t *ids, int32_t *count) {
    *count = 0;
    for (const char *at = list; *list != '\0';) {
        int32_t id = 0;
        const char *end = NULL, *why = parse_entry(at, total, &id, &end);
        for (int32_t i = 0; why == NULL && i < *count; i++) {
            if (ids[i] == id) why = "is there twice";
        }
        if (why != NULL) return bad_list(list, at, why, total);
        ids[(*count)++] = id;
        if (*end == '\0') break;
        at = end + 1;
    }
    return 0;
}

/* For hc_option_refine. */
static int check_list(const char *value) {
    int32_t ids[HC_MAX_DEVICES], count;
    return parse_list(value, hc_device_physical_count(), ids, &count);
}
__attribute__((constructor)) static void know_lists(void) {
    hc_option_refine(HC_OPT_VISIBLE_DEVICES, check_list);
}

/* Unset: all devices. Set to nothing: none, which is how schedulers keep a process off the devices. */
int hc_visible_devices(int32_t total, int32_t *ids, int32_t *count) {
    const char *list = hc_option_raw(HC_OPT_VISIBLE_DEVICES);
    if (list != NULL) return parse_list(list, total, ids, count);
    for (*count = 0; *count < total; (*count)++) ids[*count] = *count;
    return 0;
}
