// SPDX-License-Identifier: Apache-2.0
/* out = x rounded to an integer, over lists. Modes, as clients number them: 1 to nearest (ties to even), 2
 * floor, 3 ceil, 5 truncate, 7 the fraction that truncation drops. */
#include "foreach.h"

HC_EW_KERNEL(foreach_round_F32)
HC_EW_KERNEL(foreach_round_F64)

#ifdef HC_ISA
enum { ROUND = 1, FLOOR = 2, CEIL = 3, TRUNC = 5 };
/* The mode is tested once a block, not once an element. */
#define LOOP(expr) _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = (expr);
#define DEFINE(name, type, suffix)                                                                           \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        type *y = out[0];                                                                                    \
        const type *x = in[0];                                                                               \
        switch (((const struct hc_ew_scalar *)args)->I64) {                                                  \
        case ROUND: LOOP(__builtin_rint##suffix(x[i])) break;                                                \
        case FLOOR: LOOP(__builtin_floor##suffix(x[i])) break;                                               \
        case CEIL: LOOP(__builtin_ceil##suffix(x[i])) break;                                                 \
        case TRUNC: LOOP(__builtin_trunc##suffix(x[i])) break;                                               \
        default: LOOP(x[i] - __builtin_trunc##suffix(x[i])) break;                                           \
        }                                                                                                    \
    }
DEFINE(foreach_round_F32, float, f)
DEFINE(foreach_round_F64, double, )
#else
/* A mode in device memory is read when the operator runs; one that is unknown there counts as 7. */
HC_FOREACH_SPEC2(ROUND_TENSOR, "aclnnForeachRoundOffNumber", foreach_round)
HC_FOREACH_SPEC2(ROUND_SCALAR, "aclnnForeachRoundOffNumberV2", foreach_round)
HC_FOREACH_SCALAR(aclnnForeachRoundOffNumber, ROUND_TENSOR, aclTensor)

/* A mode by value is checked when planned. */
HC_API aclnnStatus aclnnForeachRoundOffNumberV2GetWorkspaceSize(const aclTensorList *x,
                                                                const aclScalar *roundMode,
                                                                const aclTensorList *out,
                                                                uint64_t *workspaceSize,
                                                                aclOpExecutor **executor) {
    const int64_t mode = roundMode ? hc_scalar_i64(roundMode) : 0;
    HC_CHECK(roundMode == NULL || mode == 1 || mode == 2 || mode == 3 || mode == 5 || mode == 7,
             ACLNN_ERR_PARAM_INVALID, "aclnnForeachRoundOffNumberV2: roundMode is %lld, not 1, 2, 3, 5 or 7",
             (long long)mode);
    const struct hc_foreach_args args = {
        .ins = {x}, .num_ins = 1, .out = out, .mode = HC_FOREACH_ONE, .scalar = roundMode};
    return hc_foreach_plan(&ROUND_SCALAR, &args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnForeachRoundOffNumberV2)
#endif
