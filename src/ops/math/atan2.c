// SPDX-License-Identifier: Apache-2.0
/* y = angle of the point (other, self) in [-pi, pi], element by element. Signed zeros choose the side of
 * the cut, as C defines; by the C library in double, rounded once. Integers become float. */
#include "binary.h"

HC_EW_KERNELS_FLOAT(atan2)

#ifdef HC_ISA
#include <math.h>

static inline float atan2_f32(float a, float b) { return (float)atan2((double)a, (double)b); }
HC_EW_BODY2(atan2_F32, float, float, atan2_f32)
HC_EW_BODY2(atan2_F64, double, double, atan2)
#else
static const struct hc_ew SPEC = {"aclnnAtan2", HC_EW_TABLE_FLOAT(atan2), 0, HC_CLASS_FLOAT};
HC_BINARY(aclnnAtan2, SPEC)

HC_API aclnnStatus aclnnInplaceAtan2GetWorkspaceSize(aclTensor *selfRef, aclTensor *other,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    return hc_ew_plan_binary("aclnnInplaceAtan2", &SPEC, selfRef, other, selfRef, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceAtan2)
#endif
