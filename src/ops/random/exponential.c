// SPDX-License-Identifier: Apache-2.0
/* Exponential numbers by the inverse of their distribution, -ln(u) / lambda, with u in the middle of one of
 * 2^23 (2^52) equal parts of (0, 1): never 0 or 1, so that no result is infinite or 0. A result that its type
 * would round to 0 is the smallest one above it. */
#include <math.h>

#include "philox.h"

HC_RANDOM_KERNEL(exponential_F32)
HC_RANDOM_KERNEL(exponential_F64)

struct exponential {
    struct hc_philox philox;
    double factor, least; /* -1 / lambda, and what results are not below */
};

#ifdef HC_ISA
#include "simd.h"
#include "simd_math.h"

/* Writes whole groups: the block has room. The sum is exact in a float's 24 bits. */
void HC_FN(exponential_F32)(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct exponential *a = args;
    const vf least = vf_set((float)a->least);
    const float factor = (float)a->factor;
    float *y = block;
    (void)index;
    for (size_t i = 0; i < hc_align_up(n, HC_PHILOX_GROUP); i += HC_VL) {
        const vi word = vf_bits(vf_load((const float *)(const void *)(words + i)));
        const vf u = (vf_from_int((word >> 9) & 0x7fffff) + 0.5f) * 0x1p-23f;
        vf_store(y + i, vf_max(vf_log(u) * factor, least));
    }
}

/* As above with words of 64 bits, 32 a group. */
void HC_FN(exponential_F64)(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct exponential *a = args;
    double *y = block;
    (void)index;
    for (size_t i = 0; i < n; i++) {
        const uint64_t word = hc_philox_u64(words + i / 32 * HC_PHILOX_GROUP, i % 32);
        y[i] = fmax(log(((double)(word >> 12) + 0.5) * 0x1p-52) * a->factor, a->least);
    }
}
#else

/* The smallest number above 0, of float32 and float64 the smallest normal one. */
static double least_above_zero(aclDataType dtype) {
    return dtype == ACL_FLOAT16 ? 0x1p-24 : dtype == ACL_DOUBLE ? 0x1p-1022 : 0x1p-126;
}

/* Operand: selfRef. */
static aclnnStatus run(const struct hc_call *call) {
    const struct exponential *a = call->args;
    const aclTensor *self = hc_arg(call, 0);
    const bool wide = self->dtype == ACL_DOUBLE;
    const struct hc_random random = {a->philox, wide ? HC_F64 : HC_F32, wide,
                                     wide ? HC_DISPATCH(exponential_F64) : HC_DISPATCH(exponential_F32), a};
    return hc_random_fill(&random, self);
}

/* torch_npu.npu_sim_exponential_, and exponential_ of newer devices. count is the tensor's number of
 * elements. An infinite lambda gives zeros. */
HC_API aclnnStatus aclnnSimThreadExponentialGetWorkspaceSize(aclTensor *selfRef, int64_t count, double lambda,
                                                             int64_t seed, int64_t offset,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    static const char *const NAME = "aclnnSimThreadExponential";
    HC_CHECK(selfRef != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: selfRef is null", NAME);
    HC_CHECK(hc_dtype_is_float(selfRef->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: selfRef is %s, a floating-point tensor is needed", NAME, HC_SHOW(selfRef));
    HC_CHECK(count == selfRef->numel, ACLNN_ERR_PARAM_INVALID,
             "%s: count is %lld, selfRef is %s: wanted %lld", NAME, (long long)count, HC_SHOW(selfRef),
             (long long)selfRef->numel);
    HC_CHECK(lambda > 0, ACLNN_ERR_PARAM_INVALID, "%s: lambda is %g, wanted more than 0", NAME, lambda);
    const struct exponential args = {.philox = {(uint64_t)seed, (uint64_t)offset},
                                     .factor = -1 / lambda,
                                     .least = isinf(lambda) ? 0 : least_above_zero(selfRef->dtype)};
    return HC_PLAN(NAME, run, &args, HC_OUT(selfRef));
}
HC_OP_LAUNCH(aclnnSimThreadExponential)
#endif
