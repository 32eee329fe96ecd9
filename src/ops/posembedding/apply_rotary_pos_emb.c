// SPDX-License-Identifier: Apache-2.0
/* Rotary embedding of query and key in place. Tables may be shorter than the heads: then the first
 * elements turn, and the rest of a head stays.
 *
 * Two runs of rotary_forward over one pair of tables: query and key differ in heads, so a loop over both
 * would not share more than the tables, which are in cache. */
#include <string.h>

#include "rotary.h"

/* A row is read whole before it is written, so out may be the input. */
static aclnnStatus run(const struct hc_call *call) {
    const int mode = *(const int *)call->args;
    HC_TRY(rotary_forward(hc_arg(call, 0), hc_arg(call, 2), hc_arg(call, 3), hc_arg(call, 0), mode));
    return rotary_forward(hc_arg(call, 1), hc_arg(call, 2), hc_arg(call, 3), hc_arg(call, 1), mode);
}

/* `mode` is one of rotary_mode. */
static aclnnStatus plan(const char *name, aclTensor *queryRef, aclTensor *keyRef, const aclTensor *cos,
                        const aclTensor *sin, int64_t layout, int mode, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    /* 1 BSND, 2 SBND, 3 BNSD, 4 TND: broadcasting of the tables says the same, so only the number is checked.
     */
    HC_CHECK(layout >= 1 && layout <= 4, ACLNN_ERR_PARAM_INVALID,
             "%s: layout is %lld, wanted 1 (BSND), 2 (SBND), 3 (BNSD) or 4 (TND)", name, (long long)layout);
    HC_TRY(rotary_check(name, queryRef, cos, sin, queryRef, mode, true));
    HC_TRY(rotary_check(name, keyRef, cos, sin, keyRef, mode, true));
    return HC_PLAN(name, run, &mode, HC_INOUT(queryRef), HC_INOUT(keyRef), HC_IN(cos), HC_IN(sin));
}

/* torch_npu.npu_apply_rotary_pos_emb(query, key, cos, sin, layout). */
HC_API aclnnStatus aclnnApplyRotaryPosEmbGetWorkspaceSize(aclTensor *queryRef, aclTensor *keyRef,
                                                          const aclTensor *cos, const aclTensor *sin,
                                                          int64_t layout, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    return plan("aclnnApplyRotaryPosEmb", queryRef, keyRef, cos, sin, layout, ROTARY_HALF, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnApplyRotaryPosEmb)

/* The same with the mode by name; the names are in the order of rotary_mode's numbers. */
HC_API aclnnStatus aclnnApplyRotaryPosEmbV2GetWorkspaceSize(aclTensor *queryRef, aclTensor *keyRef,
                                                            const aclTensor *cos, const aclTensor *sin,
                                                            int64_t layout, char *rotaryMode,
                                                            uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    static const char NAME[] = "aclnnApplyRotaryPosEmbV2";
    static const char *const MODES[] = {"half", "interleave", "quarter"};
    HC_CHECK(rotaryMode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: rotaryMode is null", NAME);
    int mode = 0;
    while (mode < 3 && strcmp(rotaryMode, MODES[mode]) != 0) mode++;
    HC_CHECK(mode < 3, ACLNN_ERR_PARAM_INVALID,
             "%s: rotaryMode is \"%s\", wanted half, interleave or quarter", NAME, rotaryMode);
    return plan(NAME, queryRef, keyRef, cos, sin, layout, mode, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnApplyRotaryPosEmbV2)
