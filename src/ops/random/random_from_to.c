// SPDX-License-Identifier: Apache-2.0
/* Whole numbers, uniform in [from, to): from + floor(word * (to - from) / 2^64), whose bias is below range /
 * 2^64. */
#include <float.h>

#include "philox.h"

/* The count is unsigned: a range may be wider than int64. */
struct range {
    struct hc_philox philox;
    int64_t from;
    uint64_t count; /* to - from; 0 means 2^64 */
};

/* The high half of a 128-bit product: no division and no rejection, so element i is a function of word i
 * alone. */
static void integers(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct range *a = args;
    int64_t *y = block;
    (void)index;
    for (size_t i = 0; i < n; i++) {
        const uint64_t word = hc_philox_u64(words + i / 32 * HC_PHILOX_GROUP, i % 32);
        const uint64_t step = a->count ? (uint64_t)(((unsigned __int128)word * a->count) >> 64) : word;
        y[i] = (int64_t)((uint64_t)a->from + step);
    }
}

static aclnnStatus random_run(const struct hc_call *call) {
    const struct range *a = call->args;
    const struct hc_random random = {hc_philox_of(call, a->philox, 1), HC_I64, true, integers, a};
    return hc_random_fill(&random, hc_arg(call, 0));
}

/* Float outputs get whole numbers too. seed and offset may be NULL. */
static aclnnStatus plan(const char *name, const aclTensor *selfRef, int64_t from, uint64_t count,
                        struct hc_philox philox, const aclTensor *seed, const aclTensor *offset,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(selfRef != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: selfRef is null", name);
    HC_CHECK(!hc_dtype_is_complex(selfRef->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: selfRef is %s, not supported", name, HC_SHOW(selfRef));
    const struct range args = {philox, from, count};
    return HC_PLAN(name, random_run, &args, HC_OUT(selfRef), HC_IN_OPT(seed), HC_IN_OPT(offset));
}

static aclnnStatus check_range(const char *name, int64_t from, int64_t to) {
    HC_CHECK(from < to, ACLNN_ERR_PARAM_INVALID, "%s: from %lld to %lld is no range, wanted from < to", name,
             (long long)from, (long long)to);
    return 0;
}

/* self.random_(from, to). */
aclnnStatus aclnnInplaceRandomGetWorkspaceSize(const aclTensor *selfRef, int64_t from, int64_t to,
                                               int64_t seed, int64_t offset, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    static const char NAME[] = "aclnnInplaceRandom";
    HC_TRY(check_range(NAME, from, to));
    return plan(NAME, selfRef, from, (uint64_t)to - (uint64_t)from,
                (struct hc_philox){(uint64_t)seed, (uint64_t)offset}, NULL, NULL, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceRandom)

aclnnStatus aclnnInplaceRandomTensorGetWorkspaceSize(const aclTensor *selfRef, int64_t from, int64_t to,
                                                     const aclTensor *seedTensor,
                                                     const aclTensor *offsetTensor, int64_t offset,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnInplaceRandomTensor";
    HC_TRY(check_range(NAME, from, to));
    HC_TRY(hc_philox_check(NAME, seedTensor, offsetTensor));
    return plan(NAME, selfRef, from, (uint64_t)to - (uint64_t)from,
                (struct hc_philox){.offset = (uint64_t)offset}, seedTensor, offsetTensor, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnInplaceRandomTensor)

/* PyTorch's range without bounds: [0, 2^significand] for floats, [0, max] for integers. */
static uint64_t whole_range(aclDataType dtype) {
    switch (dtype) {
    case ACL_BOOL: return 2;
    case ACL_BF16: return (1u << 8) + 1;
    case ACL_FLOAT16: return (1u << 11) + 1;
    case ACL_FLOAT: return (1u << FLT_MANT_DIG) + 1;
    case ACL_DOUBLE: return (1ull << DBL_MANT_DIG) + 1;
    case ACL_UINT8:
    case ACL_UINT16:
    case ACL_UINT32: return 1ull << (hc_dtype_size(dtype) * 8);
    case ACL_UINT64: return 0;
    default: return 1ull << (hc_dtype_size(dtype) * 8 - 1);
    }
}

aclnnStatus aclnnInplaceRandomWithoutFromToGetWorkspaceSize(const aclTensor *selfRef, int64_t seed,
                                                            int64_t offset, uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    const uint64_t count = selfRef ? whole_range(selfRef->dtype) : 0;
    return plan("aclnnInplaceRandomWithoutFromTo", selfRef, 0, count,
                (struct hc_philox){(uint64_t)seed, (uint64_t)offset}, NULL, NULL, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceRandomWithoutFromTo)

aclnnStatus aclnnInplaceRandomWithoutFromToTensorGetWorkspaceSize(const aclTensor *selfRef,
                                                                  const aclTensor *seedTensor,
                                                                  const aclTensor *offsetTensor,
                                                                  int64_t offset, uint64_t *workspaceSize,
                                                                  aclOpExecutor **executor) {
    static const char NAME[] = "aclnnInplaceRandomWithoutFromToTensor";
    const uint64_t count = selfRef ? whole_range(selfRef->dtype) : 0;
    HC_TRY(hc_philox_check(NAME, seedTensor, offsetTensor));
    return plan(NAME, selfRef, 0, count, (struct hc_philox){.offset = (uint64_t)offset}, seedTensor,
                offsetTensor, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceRandomWithoutFromToTensor)
