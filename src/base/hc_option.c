// SPDX-License-Identifier: Apache-2.0
/* Readers and the check of all options. Checking is apart from reading: aclInit can refuse a bad value with
 * a text, the readers cannot. */
#include "hc_option.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hc_error.h"

struct option {
    const char *env, *fallback;
};
static const struct option OPTIONS[HC_OPT_COUNT] = {
#define X(id, env_name, def, text) [HC_OPT_##id] = {env_name, def},
    HC_FOR_OPTIONS(X)
#undef X
};

const char *hc_option_env_name(enum hc_option option) { return OPTIONS[option].env; }

const char *hc_option_text(enum hc_option option) {
    const char *value = getenv(OPTIONS[option].env);
    return value != NULL && value[0] != '\0' ? value : OPTIONS[option].fallback;
}

/* The whole text must be a number: "8x" is a typing error, not 8. */
static bool parse_int(const char *text, int64_t *out) {
    char *end = NULL;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') return false;
    *out = value;
    return true;
}

int64_t hc_option_int(enum hc_option option, int64_t low, int64_t high) {
    int64_t value = 0;
    if (parse_int(hc_option_text(option), &value) && value >= low && value <= high) return value;
    return parse_int(OPTIONS[option].fallback, &value) ? value : low;
}

/* A positive number, a suffix that counts in 1024s, and an optional "i" and "B": 64G, 64GiB, 1.5t. Beyond
 * 2^60 bytes sizes would no longer fit the sums that are made with them. */
static bool parse_bytes(const char *text, uint64_t *out) {
    static const char SUFFIXES[] = "KMGT";
    char *end = NULL;
    errno = 0;
    const double value = strtod(text, &end);
    if (errno != 0 || end == text || !(value > 0)) return false;
    double unit = 1;
    if (*end != '\0') {
        const char *suffix = strchr(SUFFIXES, *end & ~0x20);
        if (suffix == NULL) return false;
        for (const char *s = SUFFIXES; s <= suffix; s++) unit *= 1024;
        end++;
        if (*end == 'i') end++;
        if (*end == 'B' || *end == 'b') end++;
    }
    if (*end != '\0' || value * unit < 1 || value * unit > 0x1p60) return false;
    *out = (uint64_t)(value * unit);
    return true;
}

uint64_t hc_option_bytes(enum hc_option option) {
    uint64_t bytes = 0;
    return parse_bytes(hc_option_text(option), &bytes) ? bytes : 0;
}

static bool is_one_of(const char *text, const char *const *choices, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, choices[i]) == 0) return true;
    }
    return false;
}

/* All options at once, also those of parts that may never run: a typing error should not surface after a
 * day of training. */
int hc_option_validate(void) {
    enum { BAD_OPTION = 100000 /* ACL_ERROR_INVALID_PARAM */ };
    static const struct {
        enum hc_option option;
        int64_t low, high;
    } INTS[] = {{HC_OPT_NUM_DEVICES, 1, 1024},
                {HC_OPT_NUM_THREADS, 1, 1024},
                {HC_OPT_HCCL_BUFFSIZE, 1, 65536},
                {HC_OPT_HCCL_EXEC_TIMEOUT, 0, 2147483},
                {HC_OPT_HCCL_CONNECT_TIMEOUT, 1, 7200},
                {HC_OPT_HCCL_IF_BASE_PORT, 1, 65535},
                {HC_OPT_HCCL_EXPLAIN, 0, 1},
                {HC_OPT_DEBUG, 0, 3}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(INTS); i++) {
        const char *text = hc_option_text(INTS[i].option);
        int64_t value = 0;
        if (text[0] == '\0') continue;
        HC_CHECK(parse_int(text, &value) && value >= INTS[i].low && value <= INTS[i].high, BAD_OPTION,
                 "%s=%s: expected a whole number from %lld to %lld", OPTIONS[INTS[i].option].env, text,
                 (long long)INTS[i].low, (long long)INTS[i].high);
    }
    static const enum hc_option SIZES[] = {HC_OPT_DEVICE_MEMORY, HC_OPT_HOST_MEMORY};
    for (size_t i = 0; i < HC_ARRAY_SIZE(SIZES); i++) {
        const char *text = hc_option_text(SIZES[i]);
        HC_CHECK(text[0] == '\0' || hc_option_bytes(SIZES[i]) > 0, BAD_OPTION,
                 "%s=%s: expected a size such as 64G, 512M or 1048576", OPTIONS[SIZES[i]].env, text);
    }
    static const char *const LEVELS[] = {"off", "error", "warning", "info", "debug"};
    HC_CHECK(is_one_of(hc_option_text(HC_OPT_LOG_LEVEL), LEVELS, HC_ARRAY_SIZE(LEVELS)), BAD_OPTION,
             "%s=%s: expected off, error, warning, info or debug", OPTIONS[HC_OPT_LOG_LEVEL].env,
             hc_option_text(HC_OPT_LOG_LEVEL));
    /* Read by the Python start-up hook, which must not fail: a bad value is refused here instead. */
    static const char *const DEVICES[] = {"host", "ascend", "auto"};
    HC_CHECK(is_one_of(hc_option_text(HC_OPT_DEVICE), DEVICES, HC_ARRAY_SIZE(DEVICES)), BAD_OPTION,
             "%s=%s: expected host, ascend or auto", OPTIONS[HC_OPT_DEVICE].env,
             hc_option_text(HC_OPT_DEVICE));
    static const char *const TRANSPORTS[] = {"auto", "shm", "ucx"};
    HC_CHECK(is_one_of(hc_option_text(HC_OPT_HCCL_TRANSPORT), TRANSPORTS, HC_ARRAY_SIZE(TRANSPORTS)),
             BAD_OPTION, "%s=%s: expected auto, shm or ucx", OPTIONS[HC_OPT_HCCL_TRANSPORT].env,
             hc_option_text(HC_OPT_HCCL_TRANSPORT));
    return 0;
}
