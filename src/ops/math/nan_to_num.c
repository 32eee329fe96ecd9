// SPDX-License-Identifier: Apache-2.0
/* y = x with NaN and the infinities replaced by given numbers, element by element; integers are
 * themselves. The replacements are float in the interface; a type that cannot hold one gets its rounding,
 * which may be infinite again. */
#include "elementwise.h"

/* As the interface has them; double values are compared with them widened. */
struct replacements {
    float nan, posinf, neginf;
};

HC_EW_KERNELS_REAL(nan_to_num)

#ifdef HC_ISA
#include <math.h>

#define REPLACE(x, r)                                                                                        \
    ((x) != (x) ? (r)->nan : (x) == INFINITY ? (r)->posinf : (x) == -INFINITY ? (r)->neginf : (x))
#define SAME(x) (x)
HC_EW_BODY1_ARGS(nan_to_num_F32, float, float, struct replacements, REPLACE)
HC_EW_BODY1_ARGS(nan_to_num_F64, double, double, struct replacements, REPLACE)
HC_EW_BODY1(nan_to_num_I64, int64_t, int64_t, SAME)
#else
static const struct hc_ew SPEC = {"aclnnNanToNum", HC_EW_TABLE_REAL(nan_to_num), 0, 0};

/* For both forms: in place, out is self. */
static aclnnStatus plan(const char *name, const aclTensor *self, struct replacements r, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self};
    return hc_ew_plan_as(name, &SPEC, HC_CLASS_BOOL, outs, 1, ins, 1, &r, sizeof r, workspaceSize, executor);
}

/* torch.nan_to_num(self, nan, posinf, neginf): the client fills in the largest and lowest value of the
 * type where none is given. */
HC_API aclnnStatus aclnnNanToNumGetWorkspaceSize(const aclTensor *self, float nan, float posinf, float neginf,
                                                 aclTensor *out, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    return plan("aclnnNanToNum", self, (struct replacements){nan, posinf, neginf}, out, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnNanToNum)

HC_API aclnnStatus aclnnInplaceNanToNumGetWorkspaceSize(aclTensor *selfRef, float nan, float posinf,
                                                        float neginf, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    return plan("aclnnInplaceNanToNum", selfRef, (struct replacements){nan, posinf, neginf}, selfRef,
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceNanToNum)
#endif
