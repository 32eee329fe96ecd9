// SPDX-License-Identifier: Apache-2.0
/* y = min(max(self, low), high), element by element; NaN anywhere gives NaN. A bound that is null does
 * not bound: it is the lowest or highest value of the type. Hardtanh is the same operator. If low > high
 * the result is high, as in PyTorch. */
#include "binary.h"
#include "direct_bf16.h"

/* In every type, so that a kernel takes its own. */
struct bounds {
    struct hc_ew_scalar low, high;
    float added; /* -0, which changes nothing; NaN where a bound is, as then everything is */
};

HC_EW_KERNELS_REAL(clamp)
HC_EW_KERNEL(clamp_BF16)
HC_EW_KERNELS_REAL(clamp_tensor)

#ifdef HC_ISA
#include "simd_math.h"

/* Not min and max of the machine: those drop NaN of one side. GCC makes no vectors of the two questions, so
 * that float, which is what is clamped, has loops of its own. */
#define LARGER(a, b) ((a) > (b) || (a) != (a) ? (a) : (b))
#define SMALLER(a, b) ((a) < (b) || (a) != (a) ? (a) : (b))
#define BODIES(block, type)                                                                                  \
    void HC_FN(clamp_##block)(size_t n, void *const *out, const void *const *in, const void *args) {         \
        type *y = out[0];                                                                                    \
        const type *x = in[0];                                                                               \
        const type low = ((const struct bounds *)args)->low.block,                                           \
                   high = ((const struct bounds *)args)->high.block;                                         \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const type t = LARGER(x[i], low);                                                                \
            y[i] = SMALLER(t, high);                                                                         \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(clamp_tensor_##block)(size_t n, void *const *out, const void *const *in, const void *args) {  \
        type *y = out[0];                                                                                    \
        const type *x = in[0], *low = in[1], *high = in[2];                                                  \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const type t = LARGER(x[i], low[i]);                                                             \
            y[i] = SMALLER(t, high[i]);                                                                      \
        }                                                                                                    \
    }
BODIES(F64, double)
BODIES(I64, int64_t)

static inline vf clamp_vf(vf x, vf low, vf high) { return vf_min(vf_max(x, low), high); }
static inline vf clamp_to_bounds(vf x, const struct bounds *a) {
    return vf_at_most(vf_at_least(x, a->low.F32), a->high.F32) + a->added;
}
void HC_FN(clamp_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    float *y = out[0];
    const float *x = in[0];
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, clamp_to_bounds(vf_load(x + i), args));
    if (i < n) vf_store_part(y + i, clamp_to_bounds(vf_load_part(x + i, n - i), args), n - i);
}
void HC_FN(clamp_tensor_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    float *y = out[0];
    const float *x = in[0], *low = in[1], *high = in[2];
    (void)args;
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL)
        vf_store(y + i, clamp_vf(vf_load(x + i), vf_load(low + i), vf_load(high + i)));
    if (i < n) {
        const size_t rest = n - i;
        const vf last =
            clamp_vf(vf_load_part(x + i, rest), vf_load_part(low + i, rest), vf_load_part(high + i, rest));
        vf_store_part(y + i, last, rest);
    }
}
HC_EW_BODY1_BF16(clamp_BF16, (void)0, clamp_to_bounds(x, args))
#else
#include <math.h>

static const struct hc_ew SCALARS = {"aclnnClamp", HC_EW_TABLE_REAL_BF16(clamp), 0, HC_EW_NO_BOOL};
static const struct hc_ew TENSORS = {"aclnnClampTensor", HC_EW_TABLE_REAL(clamp_tensor), 0, HC_EW_NO_BOOL};

/* Either scalar may make an integer tensor float, unless `class_` is that of self. */
static aclnnStatus plan_class(const char *name, enum hc_dtype_class class_, const aclTensor *self,
                              const aclScalar *low, const aclScalar *high, const aclTensor *out,
                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "out" : "self");
    HC_CHECK(low || high, ACLNN_ERR_PARAM_NULLPTR,
             "%s: clipValueMin and clipValueMax are null, wanted one at least", name);
    struct bounds bounds = {.low = {-INFINITY, -INFINITY, INT64_MIN, {0, 0}},
                            .high = {INFINITY, INFINITY, INT64_MAX, {0, 0}}};
    if (low) bounds.low = hc_ew_scalar(low);
    if (high) bounds.high = hc_ew_scalar(high);
    bounds.added = isnan(bounds.low.F32) || isnan(bounds.high.F32) ? NAN : -0.0f;
    const aclTensor *outs[] = {out}, *ins[] = {self};
    return hc_ew_plan_as(name, &SCALARS, class_, outs, 1, ins, 1, &bounds, sizeof bounds, workspaceSize,
                         executor);
}

static aclnnStatus plan(const char *name, const aclTensor *self, const aclScalar *low, const aclScalar *high,
                        const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const enum hc_dtype_class of_low = low ? hc_dtype_class(low->dtype) : HC_CLASS_BOOL;
    const enum hc_dtype_class of_high = high ? hc_dtype_class(high->dtype) : HC_CLASS_BOOL;
    return plan_class(name, of_low > of_high ? of_low : of_high, self, low, high, out, workspaceSize,
                      executor);
}

/* torch.clamp(self, min, max) with numbers, either of which may be null. */
HC_API aclnnStatus aclnnClampGetWorkspaceSize(const aclTensor *self, const aclScalar *clipValueMin,
                                              const aclScalar *clipValueMax, aclTensor *out,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnClamp", self, clipValueMin, clipValueMax, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnClamp)

/* F.hardtanh(self, min, max): an activation by its name, a clamp by what it does. Bounds take self's type. */
HC_API aclnnStatus aclnnHardtanhGetWorkspaceSize(const aclTensor *self, const aclScalar *clipValueMin,
                                                 const aclScalar *clipValueMax, aclTensor *out,
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_class("aclnnHardtanh", HC_CLASS_BOOL, self, clipValueMin, clipValueMax, out, workspaceSize,
                      executor);
}
HC_OP_LAUNCH(aclnnHardtanh)

HC_API aclnnStatus aclnnInplaceHardtanhGetWorkspaceSize(aclTensor *selfRef, const aclScalar *clipValueMin,
                                                        const aclScalar *clipValueMax,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_class("aclnnInplaceHardtanh", HC_CLASS_BOOL, selfRef, clipValueMin, clipValueMax, selfRef,
                      workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceHardtanh)

/* torch.clamp_min(self, min), and its mirror below. */
HC_API aclnnStatus aclnnClampMinGetWorkspaceSize(const aclTensor *self, const aclScalar *clipValueMin,
                                                 aclTensor *out, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    return plan("aclnnClampMin", self, clipValueMin, NULL, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnClampMin)

HC_API aclnnStatus aclnnClampMaxGetWorkspaceSize(const aclTensor *self, const aclScalar *clipValueMax,
                                                 aclTensor *out, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    return plan("aclnnClampMax", self, NULL, clipValueMax, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnClampMax)

HC_API aclnnStatus aclnnInplaceClampMaxGetWorkspaceSize(const aclTensor *selfRef,
                                                        const aclScalar *clipValueMax,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnInplaceClampMax", selfRef, NULL, clipValueMax, selfRef, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceClampMax)

/* A missing bound is the operator with one bound, whose kernels are those of maximum and minimum. */
HC_API aclnnStatus aclnnClampTensorGetWorkspaceSize(const aclTensor *self, const aclTensor *clipValueMin,
                                                    const aclTensor *clipValueMax, aclTensor *out,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(clipValueMin || clipValueMax, ACLNN_ERR_PARAM_NULLPTR,
             "aclnnClampTensor: clipValueMin and clipValueMax are null, wanted one at least");
    if (clipValueMin == NULL)
        return aclnnClampMaxTensorGetWorkspaceSize(self, clipValueMax, out, workspaceSize, executor);
    if (clipValueMax == NULL)
        return aclnnClampMinTensorGetWorkspaceSize(self, clipValueMin, out, workspaceSize, executor);
    const aclTensor *outs[] = {out}, *ins[] = {self, clipValueMin, clipValueMax};
    return hc_ew_plan(&TENSORS, HC_CLASS_BOOL, outs, 1, ins, 3, NULL, 0, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnClampTensor)
#endif
