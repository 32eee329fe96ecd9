// SPDX-License-Identifier: Apache-2.0
/* y = angle of the point (other, self) in [-pi, pi], element by element. Signed zeros choose the side of
 * the cut, as C defines. float within 2 units (simd_angles.h), double by the C library. Integers become
 * float. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_FLOAT(atan2)
HC_EW_KERNEL(atan2_BF16)

#ifdef HC_ISA
#include <math.h>

#include "simd_angles.h"

HC_EW_BODY2_VF(atan2_F32, vf_atan2)
HC_EW_BODY2_BF16(atan2_BF16, (void)0, vf_atan2(a, b))
HC_EW_BODY2(atan2_F64, double, double, atan2)
#else
static const struct hc_ew SPEC = {"aclnnAtan2", HC_EW_TABLE_FLOAT_BF16(atan2), 0, HC_CLASS_FLOAT};
HC_BINARY(aclnnAtan2, SPEC)

HC_API aclnnStatus aclnnInplaceAtan2GetWorkspaceSize(aclTensor *selfRef, aclTensor *other,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    return hc_ew_plan_binary("aclnnInplaceAtan2", &SPEC, selfRef, other, selfRef, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceAtan2)
#endif
