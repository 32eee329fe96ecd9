// SPDX-License-Identifier: Apache-2.0
/* y = x rounded to the nearest integer, ties to even; integers are themselves. rint in the default
 * rounding mode, which nothing here changes.
 *
 * To a number of decimals: rint(x 10^d) / 10^d, for negative d rint(x / 10^-d) 10^-d, each step rounded to
 * the type, as PyTorch does: a multiple of a negative power of ten would not be exact. */
#include "binary.h"
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_REAL(round)
HC_EW_KERNEL(round_BF16)
HC_EW_KERNELS_FLOAT(round_behind)
HC_EW_KERNELS_FLOAT(round_before)

#ifdef HC_ISA
#include <math.h>

#define SAME(x) (x)

HC_EW_BODY1(round_F32, float, float, rintf)
HC_EW_BODY1_BF16(round_BF16, (void)0, vf_rint(x))
HC_EW_BODY1(round_F64, double, double, rint)
HC_EW_BODY1(round_I64, int64_t, int64_t, SAME)

static inline float behind_f32(float x, float s) { return rintf(x * s) / s; }
static inline double behind_f64(double x, double s) { return rint(x * s) / s; }

HC_EW_BODY_SCALAR(round_behind, F32, float, behind_f32(x, s))
HC_EW_BODY_SCALAR(round_behind, F64, double, behind_f64(x, s))
HC_EW_BODY_SCALAR(round_before, F32, float, rintf(x / s) * s)
HC_EW_BODY_SCALAR(round_before, F64, double, rint(x / s) * s)
#else
#include <math.h>

static const struct hc_ew SPEC = {"aclnnRound", HC_EW_TABLE_REAL_BF16(round), 0, HC_EW_NO_BOOL};
HC_UNARY(aclnnRound, SPEC)
HC_UNARY_INPLACE(aclnnInplaceRound, SPEC)

/* Decimals behind the point, and digits before it. Not of integers, as in PyTorch. */
static const struct hc_ew BEHIND = {"aclnnRoundDecimals", HC_EW_TABLE_FLOAT(round_behind), 0, HC_EW_NO_BOOL};
static const struct hc_ew BEFORE = {"aclnnRoundDecimals", HC_EW_TABLE_FLOAT(round_before), 0, HC_EW_NO_BOOL};

static aclnnStatus plan(const char *name, const aclTensor *self, int64_t decimals, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self};
    const double power = pow(10, fabs((double)decimals));
    const struct hc_ew_scalar s = {.F32 = (float)power, .F64 = power};
    return hc_ew_plan_as(name, decimals < 0 ? &BEFORE : &BEHIND, HC_CLASS_BOOL, outs, 1, ins, 1, &s, sizeof s,
                         workspaceSize, executor);
}

/* torch.round(self, decimals=decimals) */
HC_API aclnnStatus aclnnRoundDecimalsGetWorkspaceSize(const aclTensor *self, int64_t decimals, aclTensor *out,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnRoundDecimals", self, decimals, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRoundDecimals)

HC_API aclnnStatus aclnnInplaceRoundDecimalsGetWorkspaceSize(aclTensor *selfRef, int64_t decimals,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    return plan("aclnnInplaceRoundDecimals", selfRef, decimals, selfRef, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceRoundDecimals)
#endif
