// SPDX-License-Identifier: Apache-2.0
/* Attention over parts of the keys as attention over all of them, from the logarithm of each part's sum:
 *
 *     lseOut = log(sum of exp(lse[i])),  out = sum of localOut[i] * exp(lse[i] - lseOut)
 *
 * A part that has seen no key has lse -inf and counts nothing; a row no part has seen is 0. */
#include "plain.h"

/* The interface knows 1 to 16 parts. */
enum { PARTS_MAX = 24 };

/* lse [rows] and localOut [rows, size] of each part. */
struct update {
    const float *lse[PARTS_MAX], *part[PARTS_MAX];
    float *out, *lse_out;
    size_t parts, size;
};
HC_KERNEL(attention_update, (const struct update *u, size_t begin, size_t end))

#ifdef HC_ISA
#include "simd_math.h"

/* The parts' shares of row r; returns the logarithm of their sum. */
static float shares(const struct update *u, size_t r, float *share) {
    float top = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < u->parts; i++) {
        const float x = u->lse[i][r];
        top = x > top || x != x ? x : top;
    }
    for (size_t i = 0; i < u->parts; i++) {
        share[i] = top == -INFINITY ? 0.0f : expf(u->lse[i][r] - top);
        sum += (double)share[i];
    }
    const double scale = sum == 0 ? 0 : 1 / sum;
    for (size_t i = 0; i < u->parts; i++) share[i] = (float)((double)share[i] * scale);
    return top == -INFINITY ? top : (float)((double)top + log(sum));
}

/* The parts follow each other over one row, which stays in the first cache. */
void HC_FN(attention_update)(const struct update *u, size_t begin, size_t end) {
    for (size_t r = begin; r < end; r++) {
        float share[PARTS_MAX];
        const float lse = shares(u, r, share);
        if (u->lse_out != NULL) u->lse_out[r] = lse;
        float *out = u->out + r * u->size;
        /* A part without a share is not read: its rows may be anything, NaN too. */
        for (size_t d = 0; d < u->size; d++) out[d] = 0;
        for (size_t i = 0; i < u->parts; i++) {
            const float *part = u->part[i] + r * u->size, w = share[i];
            if (w == 0.0f) continue;
            for (size_t d = 0; d < u->size; d++) out[d] += part[d] * w;
        }
    }
}

#else
static const char NAME[] = "aclnnAttentionUpdate";

struct args {
    size_t parts;
};

static void update_rows(void *ctx, size_t begin, size_t end) {
    HC_DISPATCH(attention_update)(ctx, begin, end);
}

/* Operands lse (list), localOut (list), out, lseOut. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_plain p = hc_plain_open(call->name);
    const aclTensor *out = hc_arg(call, 2);
    struct update u = {.parts = a->parts, .size = (size_t)out->shape[out->rank - 1]};
    for (size_t i = 0; i < a->parts; i++) {
        u.lse[i] = hc_plain_in(&p, hc_arg_at(call, 0, i));
        u.part[i] = hc_plain_in(&p, hc_arg_at(call, 1, i));
    }
    u.out = hc_plain_out(&p, out), u.lse_out = hc_plain_out(&p, hc_arg(call, 3));
    const size_t rows = u.size > 0 ? hc_numel(out) / u.size : 0;
    if (p.status == 0) hc_parallel_for(rows, 1 + 16384 / (1 + u.size * u.parts), update_rows, &u);
    return hc_plain_close(&p, 0);
}

/* torch_npu.npu_attention_update(lse, local_out, update_type): lseOut with type 1. */
HC_API aclnnStatus aclnnAttentionUpdateGetWorkspaceSize(const aclTensorList *lse,
                                                        const aclTensorList *localOut, int64_t updateType,
                                                        aclTensor *out, aclTensor *lseOut,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(lse != NULL && localOut != NULL && out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             lse == NULL        ? "lse"
             : localOut == NULL ? "localOut"
                                : "out");
    HC_CHECK(updateType == 0 || updateType == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: updateType is %lld, wanted 0 or 1", NAME, (long long)updateType);
    HC_CHECK(lse->size == localOut->size && lse->size >= 1 && lse->size <= PARTS_MAX, ACLNN_ERR_PARAM_INVALID,
             "%s: lse has %zu tensors, localOut %zu: wanted as many, 1 to %d", NAME, lse->size,
             localOut->size, PARTS_MAX);
    HC_CHECK(out->rank >= 1, ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted rows", NAME, HC_SHOW(out));
    HC_TRY(hc_plain_check(NAME, "out", out, out->rank, out->shape));
    for (size_t i = 0; i < lse->size; i++) {
        HC_TRY(hc_plain_check(NAME, "localOut", localOut->data[i], out->rank, out->shape));
        HC_TRY(hc_plain_check(NAME, "lse", lse->data[i], out->rank - 1, out->shape));
    }
    if (updateType == 1) HC_TRY(hc_plain_check(NAME, "lseOut", lseOut, out->rank - 1, out->shape));
    else lseOut = NULL;
    const struct args args = {lse->size};
    return HC_PLAN(NAME, run, &args, HC_IN_LIST(lse), HC_IN_LIST(localOut), HC_OUT(out), HC_OUT_OPT(lseOut));
}
HC_OP_LAUNCH(aclnnAttentionUpdate)
#endif
