// SPDX-License-Identifier: Apache-2.0
/* Uniform in [from, to): from + u * (to - from) with u a multiple of 2^-p below 1, p the significand of the
 * dtype, as PyTorch does. Rounding could still reach `to`: values are cut at the largest one below it. */
#include <math.h>

#include "philox.h"

HC_RANDOM_KERNEL(uniform_F32)
HC_RANDOM_KERNEL(uniform_F64)

struct uniform {
    struct hc_philox philox;
    double from, range, below; /* below: the largest value of the dtype under `to` */
    float scale;               /* 2^-p: (word >> shift) * scale is in [0, 1) */
    int shift;
};

#ifdef HC_ISA
/* Writes whole groups: the block has room. `below` is a selection, not a rejection, so element i stays a
 * function of word i. */
void HC_FN(uniform_F32)(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct uniform a = *(const struct uniform *)args;
    const float from = (float)a.from, range = (float)a.range, below = (float)a.below;
    float *y = block;
    (void)index;
    for (size_t i = 0; i < hc_align_up(n, HC_PHILOX_GROUP); i++) {
        const float value = from + range * ((float)(int32_t)(words[i] >> a.shift) * a.scale);
        y[i] = value < below ? value : below;
    }
}
/* As above with words of 64 bits, 32 a group. */
void HC_FN(uniform_F64)(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct uniform *a = args;
    double *y = block;
    (void)index;
    for (size_t i = 0; i < n; i++) {
        const uint64_t word = hc_philox_u64(words + i / 32 * HC_PHILOX_GROUP, i % 32);
        const double value = a->from + a->range * hc_philox_unit_f64(word);
        y[i] = value < a->below ? value : a->below;
    }
}
#else

/* Significand bits, hidden one included. */
static int significand_bits(aclDataType dtype) {
    return dtype == ACL_BF16 ? 8 : dtype == ACL_FLOAT16 ? 11 : 24;
}

/* The next value of the dtype under a finite `to`. double has nextafter, float too; 16-bit floats are stepped
 * by hand, a step half as wide below a power of two. */
static double value_below(double to, aclDataType dtype) {
    if (dtype == ACL_DOUBLE) return nextafter(to, -INFINITY);
    if (dtype == ACL_FLOAT) {
        const float rounded = (float)to;
        return (double)((double)rounded < to ? rounded : nextafterf(rounded, -INFINITY));
    }
    int exponent;
    frexp(to, &exponent);
    const double step = ldexp(1.0, exponent - significand_bits(dtype));
    const double down = ceil(to / step) * step - step;
    return to > 0 && down < ldexp(0.5, exponent) ? to - step / 2 : down;
}

/* Operands: out, and where they are on the device seed and offset. */
static aclnnStatus uniform_run(const struct hc_call *call) {
    const struct uniform *a = call->args;
    const bool wide = hc_arg(call, 0)->dtype == ACL_DOUBLE;
    const struct hc_random random = {hc_philox_of(call, a->philox, 1), wide ? HC_F64 : HC_F32, wide,
                                     wide ? HC_DISPATCH(uniform_F64) : HC_DISPATCH(uniform_F32), a};
    return hc_random_fill(&random, hc_arg(call, 0));
}

/* An empty range gives `from`. seed and offset may be NULL. */
static aclnnStatus plan(const char *name, const aclTensor *selfRef, double from, double to,
                        struct hc_philox philox, const aclTensor *seed, const aclTensor *offset,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(selfRef != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: selfRef is null", name);
    HC_CHECK(hc_dtype_is_float(selfRef->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: selfRef is %s, a floating-point tensor is needed", name, HC_SHOW(selfRef));
    HC_CHECK(isfinite(from) && isfinite(to) && from <= to, ACLNN_ERR_PARAM_INVALID,
             "%s: from %g to %g is no range", name, from, to);
    const int bits = significand_bits(selfRef->dtype);
    const struct uniform args = {philox,           from,
                                 to - from,        from < to ? value_below(to, selfRef->dtype) : from,
                                 ldexpf(1, -bits), 32 - bits};
    return HC_PLAN(name, uniform_run, &args, HC_OUT(selfRef), HC_IN_OPT(seed), HC_IN_OPT(offset));
}

/* self.uniform_(from, to). */
aclnnStatus aclnnInplaceUniformGetWorkspaceSize(const aclTensor *selfRef, double from, double to,
                                                uint64_t seed, uint64_t offset, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    return plan("aclnnInplaceUniform", selfRef, from, to, (struct hc_philox){seed, offset}, NULL, NULL,
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceUniform)

aclnnStatus aclnnInplaceUniformTensorGetWorkspaceSize(const aclTensor *selfRef, double from, double to,
                                                      const aclTensor *seedTensor,
                                                      const aclTensor *offsetTensor, uint64_t offset,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnInplaceUniformTensor";
    HC_TRY(hc_philox_check(NAME, seedTensor, offsetTensor));
    return plan(NAME, selfRef, from, to, (struct hc_philox){.offset = offset}, seedTensor, offsetTensor,
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceUniformTensor)
#endif
