// SPDX-License-Identifier: Apache-2.0
/* Normal numbers by the Box-Muller transform: r = sqrt(-2 ln u), r cos(2 pi v) and r sin(2 pi v). A pair of
 * words makes a pair of values half a group apart, so the loop is straight vector code. u is in (0, 1], so r
 * is finite. */
#include <math.h>

#include "elementwise.h"
#include "philox.h"

HC_RANDOM_KERNEL(normal_F32)
HC_RANDOM_KERNEL(normal_F64)
HC_EW_KERNEL(affine_F32)
HC_EW_KERNEL(affine_F64)

/* Of one call; std may be 0. */
struct normal {
    struct hc_philox philox;
    double mean, std;
};

#ifdef HC_ISA
#include "simd.h"
#include "simd_math.h"

enum { HALF = HC_PHILOX_GROUP / 2, QUARTER = HC_PHILOX_GROUP / 4 };
#define TWO_PI 0x1.921fb54442d18p+2
#define LN_2 0x1.62e42fefa39efp-1

/* 24 bits of the word, plus one step, so that the logarithm is finite. Computed in double: near u = 1 its
 * float has no digits left. */
static inline float radius(uint32_t word) {
    const double u = ((double)(int32_t)(word >> 8) + 1) * 0x1p-24;
    return sqrtf((float)(-2 * LN_2 * hc_log2_f64(u)));
}

/* Cosine and sine of an angle in [0, 2 pi) by the polynomial of simd_math.h: no reduction is needed. */
void HC_FN(normal_F32)(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct normal *a = args;
    const float mean = (float)a->mean, std = (float)a->std;
    (void)index;
    for (size_t group = 0; group < n; group += HC_PHILOX_GROUP) {
        float *y = (float *)block + group;
        const uint32_t *w = words + group;
        for (size_t i = 0; i < HALF; i++) {
            const float r = radius(w[i]) * std;
            const float angle = (float)((double)(int32_t)(w[i + HALF] >> 8) * (TWO_PI * 0x1p-24));
            y[i] = mean + r * hc_sin_quadrant(angle, 1);
            y[i + HALF] = mean + r * hc_sin_quadrant(angle, 0);
        }
    }
}

/* 32 elements a group, two words each: the radius from the first 16 wide words, the angle from the others. */
void HC_FN(normal_F64)(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct normal *a = args;
    (void)index;
    for (size_t at = 0; at < n; at += HALF) {
        const uint32_t *group = words + at / HALF * HC_PHILOX_GROUP;
        double *y = (double *)block + at;
        for (size_t i = 0; i < QUARTER; i++) {
            const double u = ((double)(hc_philox_u64(group, i) >> 11) + 1) * 0x1p-53;
            const double r = sqrt(-2 * log(u)) * a->std;
            const double angle = TWO_PI * hc_philox_unit_f64(hc_philox_u64(group, i + QUARTER));
            y[i] = a->mean + r * cos(angle);
            y[i + QUARTER] = a->mean + r * sin(angle);
        }
    }
}

/* mean + z * std, element by element. */
#define AFFINE(block, type)                                                                                  \
    void HC_FN(affine_##block)(size_t n, void *const *out, const void *const *in, const void *args) {        \
        type *y = out[0];                                                                                    \
        const type *z = in[0], *mean = in[1], *std = in[2];                                                  \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = mean[i] + z[i] * std[i];                  \
    }
AFFINE(F32, float)
AFFINE(F64, double)
#else
#include "messages.h"

/* Halves are made in float and rounded. */
static aclnnStatus fill_normal(const struct normal *a, const aclTensor *out) {
    const bool wide = out->dtype == ACL_DOUBLE;
    const struct hc_random random = {a->philox, wide ? HC_F64 : HC_F32, wide,
                                     wide ? HC_DISPATCH(normal_F64) : HC_DISPATCH(normal_F32), a};
    return hc_random_fill(&random, out);
}

/* Operands: out, and where they are on the device seed and offset. */
static aclnnStatus normal_run(const struct hc_call *call) {
    struct normal a = *(const struct normal *)call->args;
    a.philox = hc_philox_of(call, a.philox, 1);
    return fill_normal(&a, hc_arg(call, 0));
}

/* `at`: which of the operator's tensors it is, -1 for the last. `whole`: integers are taken, too. Written so
 * that a std of NaN fails. */
static aclnnStatus check(const char *name, const aclTensor *out, int at, bool whole, double std) {
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, hc_tensor_name(name, at));
    HC_CHECK(hc_dtype_is_float(out->dtype) || (whole && hc_dtype_is_integral(out->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, a floating-point tensor%s is needed", name,
             hc_tensor_name(name, at), HC_SHOW(out), whole ? " or one of integers" : "");
    HC_CHECK(std >= 0, ACLNN_ERR_PARAM_INVALID, "%s: std is %g, at least 0 is needed", name, std);
    return 0;
}

/* self.normal_(mean, std). Integers take the numbers without their fraction, truth values whether they are 0:
 * torch.randn of these types, which the CPU has not, is asked of the NPU. */
aclnnStatus aclnnInplaceNormalGetWorkspaceSize(const aclTensor *selfRef, float mean, float std, int64_t seed,
                                               int64_t offset, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    HC_TRY(check("aclnnInplaceNormal", selfRef, -1, true, (double)std));
    const struct normal args = {{(uint64_t)seed, (uint64_t)offset}, (double)mean, (double)std};
    return HC_PLAN("aclnnInplaceNormal", normal_run, &args, HC_OUT(selfRef), HC_IN_OPT(NULL),
                   HC_IN_OPT(NULL));
}
HC_OP_LAUNCH(aclnnInplaceNormal)

aclnnStatus aclnnInplaceNormalTensorGetWorkspaceSize(const aclTensor *selfRef, float mean, float std,
                                                     const aclTensor *seedTensor,
                                                     const aclTensor *offsetTensor, int64_t offset,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnInplaceNormalTensor";
    HC_TRY(check(NAME, selfRef, 0, true, (double)std));
    HC_TRY(hc_philox_check(NAME, seedTensor, offsetTensor));
    const struct normal args = {{.offset = (uint64_t)offset}, (double)mean, (double)std};
    return HC_PLAN(NAME, normal_run, &args, HC_OUT(selfRef), HC_IN(seedTensor), HC_IN(offsetTensor));
}
HC_OP_LAUNCH(aclnnInplaceNormalTensor)

/* torch.normal(mean, std, size): the same numbers, out of place. */
aclnnStatus aclnnNormalFloatFloatGetWorkspaceSize(float mean, float std, int64_t seed, int64_t offset,
                                                  aclTensor *out, uint64_t *workspaceSize,
                                                  aclOpExecutor **executor) {
    HC_TRY(check("aclnnNormalFloatFloat", out, -1, false, (double)std));
    const struct normal args = {{(uint64_t)seed, (uint64_t)offset}, (double)mean, (double)std};
    return HC_PLAN("aclnnNormalFloatFloat", normal_run, &args, HC_OUT(out), HC_IN_OPT(NULL), HC_IN_OPT(NULL));
}
HC_OP_LAUNCH(aclnnNormalFloatFloat)

/* mean and std per element: standard normals first, then mean + z * std with broadcasting. */
static const struct hc_ew AFFINE = {
    "aclnnNormal", {[HC_F32] = affine_F32_table, [HC_F64] = affine_F64_table}, 0, 0};

struct with_tensors {
    struct hc_philox philox;
    double mean, std; /* used where the tensor is not given */
};

/* A double that broadcasts; must outlive the view. */
static aclTensor scalar_view(double *value) { return hc_tensor_view(ACL_DOUBLE, NULL, 0, value); }

/* The normals lie in out until the second pass, so no memory is needed for them. */
static aclnnStatus with_tensors_run(const struct hc_call *call) {
    struct with_tensors a = *(const struct with_tensors *)call->args;
    const aclTensor *out = hc_arg(call, 0), *mean = hc_arg(call, 1), *std = hc_arg(call, 2);
    const struct normal standard = {a.philox, 0, 1};
    const aclTensor mean_scalar = scalar_view(&a.mean), std_scalar = scalar_view(&a.std);
    const aclTensor *outs[] = {out}, *ins[] = {out, mean ? mean : &mean_scalar, std ? std : &std_scalar};
    HC_TRY(fill_normal(&standard, out));
    return hc_ew_run(&AFFINE, out->dtype == ACL_DOUBLE ? HC_F64 : HC_F32, outs, 1, ins, 3, NULL);
}

/* mean or std as a tensor (may be NULL) or a value, which are checked to broadcast to out. */
static aclnnStatus plan_with_tensors(const char *name, const aclTensor *mean, double mean_value,
                                     const aclTensor *std, double std_value, struct hc_philox philox,
                                     aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    aclTensor view;
    HC_TRY(check(name, out, -1, false, std_value));
    for (int i = 0; i < 2; i++) {
        const aclTensor *t = i == 0 ? mean : std;
        HC_CHECK(t == NULL || hc_can_cast(t->dtype, out->dtype), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s %s can't be cast to the desired output type of out %s", name,
                 i == 0 ? "mean" : "std", HC_SHOW(t), HC_SHOW(out));
    }
    HC_CHECK(mean == NULL || hc_broadcast_to(mean, out->shape, out->rank, &view), ACLNN_ERR_PARAM_INVALID,
             "%s: mean %s does not broadcast to out %s", name, HC_SHOW(mean), HC_SHOW(out));
    HC_CHECK(std == NULL || hc_broadcast_to(std, out->shape, out->rank, &view), ACLNN_ERR_PARAM_INVALID,
             "%s: std %s does not broadcast to out %s", name, HC_SHOW(std), HC_SHOW(out));
    const struct with_tensors args = {philox, mean_value, std_value};
    return HC_PLAN(name, with_tensors_run, &args, HC_OUT(out), HC_IN_OPT(mean), HC_IN_OPT(std));
}

/* torch.normal(mean, std) with a mean per element; the two below have a std per element, or both. */
aclnnStatus aclnnNormalTensorFloatGetWorkspaceSize(const aclTensor *mean, float std, int64_t seed,
                                                   int64_t offset, aclTensor *out, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    const struct hc_philox philox = {(uint64_t)seed, (uint64_t)offset};
    HC_CHECK(mean != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnNormalTensorFloat: mean is null");
    return plan_with_tensors("aclnnNormalTensorFloat", mean, 0, NULL, (double)std, philox, out, workspaceSize,
                             executor);
}
HC_OP_LAUNCH(aclnnNormalTensorFloat)

aclnnStatus aclnnNormalFloatTensorGetWorkspaceSize(float mean, const aclTensor *std, int64_t seed,
                                                   int64_t offset, aclTensor *out, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    const struct hc_philox philox = {(uint64_t)seed, (uint64_t)offset};
    HC_CHECK(std != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnNormalFloatTensor: std is null");
    return plan_with_tensors("aclnnNormalFloatTensor", NULL, (double)mean, std, 0, philox, out, workspaceSize,
                             executor);
}
HC_OP_LAUNCH(aclnnNormalFloatTensor)

aclnnStatus aclnnNormalTensorTensorGetWorkspaceSize(const aclTensor *mean, const aclTensor *std, int64_t seed,
                                                    int64_t offset, aclTensor *out, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    const struct hc_philox philox = {(uint64_t)seed, (uint64_t)offset};
    HC_CHECK(mean != NULL && std != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "aclnnNormalTensorTensor: mean or std is null");
    return plan_with_tensors("aclnnNormalTensorTensor", mean, 0, std, 0, philox, out, workspaceSize,
                             executor);
}
HC_OP_LAUNCH(aclnnNormalTensorTensor)
#endif
