// SPDX-License-Identifier: Apache-2.0
/* out = x1 + weight * (x2 - x1), over lists, from the end that is nearer: exact at weight 0 and 1. The
 * running mean of Adam as PyTorch writes it, with weight 1 - beta1. */
#include "foreach.h"

HC_EW_KERNEL(foreach_lerp_F32)
HC_EW_KERNEL(foreach_lerp_F64)
HC_EW_KERNEL(foreach_lerp_list_F32)
HC_EW_KERNEL(foreach_lerp_list_F64)

#ifdef HC_ISA
#define LERP(a, b, w) ((w) < HALF && (w) > -HALF ? (a) + (w) * ((b) - (a)) : (b) - ((b) - (a)) * (ONE - (w)))
#define HALF 0.5f
#define ONE 1.0f
/* HALF and ONE in each type: a double constant would widen the float kernel. */
static inline float lerp_f32(float a, float b, float w) { return LERP(a, b, w); }
#undef HALF
#undef ONE
#define HALF 0.5
#define ONE 1.0
static inline double lerp_f64(double a, double b, double w) { return LERP(a, b, w); }
HC_FOREACH_BODY2(foreach_lerp_F32, F32, lerp_f32)
HC_FOREACH_BODY2(foreach_lerp_F64, F64, lerp_f64)
#define LERP_LIST(name, type, fn)                                                                            \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        type *y = out[0];                                                                                    \
        const type *a = in[0], *b = in[1], *w = in[2];                                                       \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = fn(a[i], b[i], w[i]);                     \
    }
LERP_LIST(foreach_lerp_list_F32, float, lerp_f32)
LERP_LIST(foreach_lerp_list_F64, double, lerp_f64)
#else
HC_FOREACH_SPEC2(SCALAR, "aclnnForeachLerpScalar", foreach_lerp)
HC_FOREACH_SPEC2(LIST, "aclnnForeachLerpList", foreach_lerp_list)
HC_FOREACH_BINARY_SCALAR(aclnnForeachLerpScalar, SCALAR, aclScalar)

/* A weight per element, as opposed to one for all. */
HC_API aclnnStatus aclnnForeachLerpListGetWorkspaceSize(const aclTensorList *x1, const aclTensorList *x2,
                                                        const aclTensorList *weight, const aclTensorList *out,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_foreach_args args = {.ins = {x1, x2, weight}, .num_ins = 3, .out = out};
    return hc_foreach_plan(&LIST, &args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnForeachLerpList)
#endif
