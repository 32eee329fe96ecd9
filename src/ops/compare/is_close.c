// SPDX-License-Identifier: Apache-2.0
/* y = whether |a - b| <= atol + rtol |b|, element by element: equal infinities are close, NaN only with
 * equalNan. */
#include "elementwise.h"

/* rtol scales with |other|: the comparison is not symmetric, as in PyTorch. */
struct tolerance {
    double rtol, atol;
    bool equal_nan;
};

HC_EW_KERNELS_REAL(is_close)

#ifdef HC_ISA
#include <math.h>

/* Bit operations instead of branches, so that the loop vectorises. The difference must be finite: an
 * infinite one is within an infinite limit. */
static inline uint8_t close_f64(double a, double b, const struct tolerance *t) {
    const double error = fabs(a - b);
    return (a == b) | ((error <= t->atol + t->rtol * fabs(b)) & (error < INFINITY)) |
           (t->equal_nan & (a != a) & (b != b));
}
/* In float like PyTorch, so that the limit is rounded the same way. */
static inline uint8_t close_f32(float a, float b, const struct tolerance *t) {
    const float error = fabsf(a - b), limit = (float)t->atol + (float)t->rtol * fabsf(b);
    return (a == b) | ((error <= limit) & (error < INFINITY)) | (t->equal_nan & (a != a) & (b != b));
}
static inline uint8_t close_i64(int64_t a, int64_t b, const struct tolerance *t) {
    return a == b || fabs((double)a - (double)b) <= t->atol + t->rtol * fabs((double)b);
}
HC_EW_BODY2_ARGS(is_close_F32, uint8_t, float, struct tolerance, close_f32)
HC_EW_BODY2_ARGS(is_close_F64, uint8_t, double, struct tolerance, close_f64)
HC_EW_BODY2_ARGS(is_close_I64, uint8_t, int64_t, struct tolerance, close_i64)
#else
static const struct hc_ew SPEC = {"aclnnIsClose", HC_EW_TABLE_REAL(is_close), 1, 0};

HC_API aclnnStatus aclnnIsCloseGetWorkspaceSize(const aclTensor *self, const aclTensor *other, double rtol,
                                                double atol, bool equalNan, aclTensor *out,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(rtol >= 0 && atol >= 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnIsClose: rtol is %g and atol %g, wanted 0 or more", rtol, atol);
    const struct tolerance t = {rtol, atol, equalNan};
    const aclTensor *outs[] = {out}, *ins[] = {self, other};
    return hc_ew_plan(&SPEC, HC_CLASS_BOOL, outs, 1, ins, 2, &t, sizeof t, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnIsClose)
#endif
