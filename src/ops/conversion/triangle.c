// SPDX-License-Identifier: Apache-2.0
/* Triu and Tril of matrices in the last two dimensions: row r keeps columns c with c - r >= diagonal
 * (upper) or c - r <= diagonal (lower); the rest becomes zero, which is all zero bits in every dtype.
 *
 * One memset and one memcpy a row, in place the memset alone: bytes are moved without looking at them. */
#include <string.h>

#include "temporary.h"

struct args {
    int64_t diagonal;
    bool upper;
};
/* Both tensors contiguous, row after row of all matrices. */
struct job {
    char *dst;
    const char *src;
    int64_t rows, cols, item_size, diagonal;
    bool upper;
};

/* A row is a run of zeros and a run of copied bytes; in place only the zeros are written. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t i = begin; i < end; i++) {
        /* Columns before `split` are on one side; clamped without overflow for any diagonal. */
        const int64_t row = (int64_t)i % j->rows, low = -row, high = j->cols - row;
        const int64_t first = j->upper ? j->diagonal : j->diagonal < INT64_MAX ? j->diagonal + 1 : INT64_MAX;
        const int64_t split = row + hc_min_i64(hc_max_i64(first, low), high);
        const size_t left = (size_t)(split * j->item_size),
                     right = (size_t)((j->cols - split) * j->item_size);
        char *dst = j->dst + (int64_t)i * j->cols * j->item_size;
        const char *src = j->src + (int64_t)i * j->cols * j->item_size;
        memset(j->upper ? dst : dst + left, 0, j->upper ? left : right);
        if (dst == src) continue;
        if (j->upper) memcpy(dst + left, src + left, right);
        else memcpy(dst, src, left);
    }
}

/* In place is no partial overlap and takes no copy. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1);
    aclTensor from, to;
    void *copy = NULL, *result = NULL;
    if (out->numel == 0) return 0;
    HC_TRY(hc_overlaps_partly(out, self) ? hc_contiguous_apart(self, out->dtype, out, &from, &copy)
                                         : hc_contiguous(self, out->dtype, &from, &copy));
    aclnnStatus status = hc_contiguous_out(out, out->dtype, &to, &result);
    if (status == 0) {
        const int64_t rows = out->shape[out->rank - 2], cols = out->shape[out->rank - 1];
        struct job job = {hc_data(&to), hc_data(&from), rows, cols, out->item_size, a->diagonal, a->upper};
        const size_t grain = hc_max_size(1, (size_t)(128 * 1024 / (cols * out->item_size)));
        hc_parallel_for((size_t)(out->numel / cols), grain, run_rows, &job);
        if (result != NULL) status = hc_copy(out, &to);
    }
    hc_block_give(copy);
    hc_block_give(result);
    return status;
}

/* Any diagonal is legal: far off the matrix it keeps all or nothing. */
static aclnnStatus plan(const char *name, const aclTensor *self, int64_t diagonal, bool upper, aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "out" : "self");
    HC_CHECK(self->rank >= 2, ACLNN_ERR_PARAM_INVALID, "%s: self is %s, wanted at least two dimensions", name,
             HC_SHOW(self));
    HC_CHECK(hc_same_shape(self, out), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, self is %s: shapes must be equal", name, HC_SHOW(out), HC_SHOW(self));
    const struct args args = {diagonal, upper};
    return HC_PLAN(name, run, &args, HC_OUT(out), HC_IN(self));
}

/* The interface takes one of the two in-place operands as const. */
#define TRIANGLE(op, upper)                                                                                  \
    HC_API aclnnStatus op##GetWorkspaceSize(const aclTensor *self, int64_t diagonal, aclTensor *out,         \
                                            uint64_t *workspaceSize, aclOpExecutor **executor) {             \
        return plan(#op, self, diagonal, upper, out, workspaceSize, executor);                               \
    }                                                                                                        \
    HC_OP_LAUNCH(op)
#define TRIANGLE_INPLACE(op, upper, type)                                                                    \
    HC_API aclnnStatus op##GetWorkspaceSize(type *selfRef, int64_t diagonal, uint64_t *workspaceSize,        \
                                            aclOpExecutor **executor) {                                      \
        return plan(#op, selfRef, diagonal, upper, (aclTensor *)selfRef, workspaceSize, executor);           \
    }                                                                                                        \
    HC_OP_LAUNCH(op)
TRIANGLE(aclnnTriu, true)
TRIANGLE(aclnnTril, false)
TRIANGLE_INPLACE(aclnnInplaceTriu, true, aclTensor)
TRIANGLE_INPLACE(aclnnInplaceTril, false, const aclTensor)
