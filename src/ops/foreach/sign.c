// SPDX-License-Identifier: Apache-2.0
/* out = -1, 0 or 1, over lists; NaN gives 0, as PyTorch does. */
#include "foreach.h"

HC_EW_KERNEL(foreach_sign_F32)
HC_EW_KERNEL(foreach_sign_F64)
HC_EW_KERNEL(foreach_sign_I64)

#ifdef HC_ISA
#define SIGN(x) (((x) > 0) - ((x) < 0))
#define SIGN_F32(x) ((float)SIGN(x))
#define SIGN_F64(x) ((double)SIGN(x))
#define SIGN_I64(x) ((int64_t)SIGN(x))
HC_EW_BODY1(foreach_sign_F32, float, float, SIGN_F32)
HC_EW_BODY1(foreach_sign_F64, double, double, SIGN_F64)
HC_EW_BODY1(foreach_sign_I64, int64_t, int64_t, SIGN_I64)
#else
HC_FOREACH_SPEC3(SIGN_SPEC, "aclnnForeachSign", foreach_sign)
HC_FOREACH_UNARY(aclnnForeachSign, SIGN_SPEC)
#endif
