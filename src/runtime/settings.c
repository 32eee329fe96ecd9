// SPDX-License-Identifier: Apache-2.0
/* Switches that clients set and read back. */
#include <stdatomic.h>

#include "hc_device.h"
#include "hc_error.h"
#include "hc_option.h"
#include "hc_runtime.h"

/* Zero is each option's default. */
enum { NUM_OPTS = ACL_OPT_STRONG_CONSISTENCY + 1 };
static _Atomic int64_t g_options[NUM_OPTS];
static atomic_int g_overflow_mode = ACL_RT_OVERFLOW_MODE_INFNAN;
static atomic_ullong g_execute_timeout_us;

static atomic_bool g_batch_invariant_asked; /* by the environment */

static int64_t option(aclSysParamOpt opt) {
    return atomic_load_explicit(&g_options[opt], memory_order_relaxed);
}

/* For the layers above; relaxed, as it is read for every product. */
bool hc_batch_invariant(void) {
    return option(ACL_OPT_STRONG_CONSISTENCY) != 0 || option(ACL_OPT_DETERMINISTIC) >= 2 ||
           atomic_load_explicit(&g_batch_invariant_asked, memory_order_relaxed);
}

void hc_settings_read(void) {
    atomic_store(&g_batch_invariant_asked, hc_option_is(HC_OPT_BATCH_INVARIANT, "1"));
}

int hc_overflow_mode(void) { return atomic_load_explicit(&g_overflow_mode, memory_order_relaxed); }

/* Unknown options are errors: a client that sets one believes that something changes. */
static aclError set_option(const char *function, aclSysParamOpt opt, int64_t value) {
    HC_CHECK((unsigned)opt < NUM_OPTS, ACL_ERROR_RT_PARAM_INVALID, "%s: there is no option %d", function,
             (int)opt);
    HC_CHECK(value >= 0, ACL_ERROR_RT_PARAM_INVALID, "%s: value of option %d is %lld, must not be negative",
             function, (int)opt, (long long)value);
    atomic_store(&g_options[opt], value);
    return ACL_SUCCESS;
}

/* Process and context are one. Results never depend on timing, so 1 of ACL_OPT_DETERMINISTIC changes nothing.
 */
aclError aclrtSetSysParamOpt(aclSysParamOpt opt, int64_t value) {
    return set_option("aclrtSetSysParamOpt", opt, value);
}

aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value) {
    return set_option("aclrtCtxSetSysParamOpt", opt, value);
}

/* 0 until set. */
aclError aclrtGetSysParamOpt(aclSysParamOpt opt, int64_t *value) {
    HC_CHECK(value != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetSysParamOpt: value is null");
    HC_CHECK((unsigned)opt < NUM_OPTS, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetSysParamOpt: there is no option %d", (int)opt);
    *value = atomic_load(&g_options[opt]);
    return ACL_SUCCESS;
}

/* The host computes with infinities and NaN. Clients of the selected SoC ask for nothing else. */
aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode) {
    HC_CHECK((unsigned)mode < ACL_RT_OVERFLOW_MODE_UNDEF, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtSetDeviceSatMode: there is no mode %d", (int)mode);
    atomic_store(&g_overflow_mode, (int)mode);
    return ACL_SUCCESS;
}

/* An operator on the host ends; the limit is kept for those who ask. Seconds. */
aclError aclrtSetOpExecuteTimeOut(uint32_t timeout) {
    atomic_store(&g_execute_timeout_us, (unsigned long long)timeout * 1000000u);
    return ACL_SUCCESS;
}

/* Microseconds. */
aclError aclrtSetOpExecuteTimeOutV2(uint64_t timeout, uint64_t *actualTimeout) {
    atomic_store(&g_execute_timeout_us, timeout);
    if (actualTimeout != NULL) *actualTimeout = timeout;
    return ACL_SUCCESS;
}

aclError aclGetCannAttributeList(const aclCannAttr **cannAttrList, size_t *num) {
    static const aclCannAttr ALL[] = {ACL_CANN_ATTR_INF_NAN, ACL_CANN_ATTR_BF16};
    HC_CHECK(cannAttrList != NULL && num != NULL, ACL_ERROR_INVALID_PARAM,
             "aclGetCannAttributeList: null argument");
    *cannAttrList = ALL;
    *num = HC_ARRAY_SIZE(ALL);
    return ACL_SUCCESS;
}

/* Numbers that are not finite, and bfloat16: yes. Compiling operators at run time: no. */
aclError aclGetCannAttribute(aclCannAttr cannAttr, int32_t *value) {
    HC_CHECK(value != NULL, ACL_ERROR_INVALID_PARAM, "aclGetCannAttribute: value is null");
    switch (cannAttr) {
    case ACL_CANN_ATTR_INF_NAN:
    case ACL_CANN_ATTR_BF16: *value = 1; return ACL_SUCCESS;
    case ACL_CANN_ATTR_JIT_COMPILE: *value = 0; return ACL_SUCCESS;
    default:
        return hc_fail(ACL_ERROR_INVALID_PARAM, "aclGetCannAttribute: there is no attribute %d",
                       (int)cannAttr);
    }
}
