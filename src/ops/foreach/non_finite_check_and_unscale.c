// SPDX-License-Identifier: Apache-2.0
/* scaledGrads *= invScale, in place, over a list; foundInf becomes 1 where a gradient was infinite or NaN
 * before the multiplication, and keeps its value otherwise (clients call this for several lists). One pass
 * over memory. */
#include "foreach.h"

HC_EW_KERNEL(foreach_unscale_F32)
HC_EW_KERNEL(foreach_unscale_F64)

/* Arguments of all chunks of a call. */
struct unscale {
    double scale;
    uint8_t *found; /* set by whichever thread finds one: all write the same value */
};

#ifdef HC_ISA
/* The test is of the value before scaling: an infinite gradient times a tiny scale is still found.
 * Accumulated without a branch, stored once a chunk. */
#define UNSCALE(name, type, limit)                                                                           \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        const struct unscale *a = args;                                                                      \
        const type scale = (type)a->scale;                                                                   \
        type *y = out[0];                                                                                    \
        const type *x = in[0];                                                                               \
        int bad = 0;                                                                                         \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const type value = x[i];                                                                         \
            bad |= !(value <= (limit) && value >= -(limit));                                                 \
            y[i] = value * scale;                                                                            \
        }                                                                                                    \
        if (bad) __atomic_store_n(a->found, 1, __ATOMIC_RELAXED);                                            \
    }
UNSCALE(foreach_unscale_F32, float, __FLT_MAX__)
UNSCALE(foreach_unscale_F64, double, __DBL_MAX__)
#else
HC_FOREACH_SPEC2(UNSCALE, "aclnnForeachNonFiniteCheckAndUnscale", foreach_unscale)

/* The flag lies on the stack while threads write it, and goes to the tensor once, afterwards. */
static aclnnStatus run(const struct hc_call *call) {
    uint8_t found = 0;
    const struct unscale args = {hc_foreach_read(hc_arg(call, 2), 0).F64, &found};
    const aclTensor *grads[] = {hc_arg(call, 0)};
    HC_TRY(hc_foreach_run(&UNSCALE, hc_arg_count(call, 0), grads, 1, grads, 1, &args, 0));
    if (!found) return 0;
    const aclTensor *flag = hc_arg(call, 1);
    const double one = 1;
    hc_store_for(flag->dtype, HC_F64)(1, hc_data(flag), 1, &one);
    return 0;
}

/* torch._amp_foreach_non_finite_check_and_unscale_: a gradient scaler's step before the optimiser's. */
HC_API aclnnStatus aclnnForeachNonFiniteCheckAndUnscaleGetWorkspaceSize(const aclTensorList *scaledGrads,
                                                                        const aclTensor *foundInf,
                                                                        const aclTensor *invScale,
                                                                        uint64_t *workspaceSize,
                                                                        aclOpExecutor **executor) {
    const char *const names[] = {"scaledGrads"};
    HC_TRY(hc_foreach_check(UNSCALE.name, &scaledGrads, names, 1));
    HC_TRY(hc_foreach_check_dtypes(&UNSCALE, &scaledGrads, 1));
    HC_CHECK(foundInf && invScale, ACLNN_ERR_PARAM_NULLPTR, "%s: foundInf or invScale is null", UNSCALE.name);
    HC_CHECK(foundInf->numel == 1 && invScale->numel == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: foundInf is %s and invScale is %s, each must have one element", UNSCALE.name,
             HC_SHOW(foundInf), HC_SHOW(invScale));
    return HC_PLAN0(UNSCALE.name, run, HC_INOUT_LIST(scaledGrads), HC_INOUT(foundInf), HC_IN(invScale));
}
HC_OP_LAUNCH(aclnnForeachNonFiniteCheckAndUnscale)
#endif
