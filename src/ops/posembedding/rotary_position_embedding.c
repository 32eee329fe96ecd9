// SPDX-License-Identifier: Apache-2.0
/* Rotary embedding of one tensor; V2 may turn by a matrix instead: y = x * cos + (x @ rotate) * sin. */
#include <string.h>

#include "gemm.h"
#include "rotary.h"
#include "temporary.h"

HC_KERNEL(rotary_combine,
          (size_t d, float *y, const float *x, const float *turned, const float *c, const float *s))

#ifdef HC_ISA
/* turned = x @ rotate of the row. */
void HC_FN(rotary_combine)(size_t d, float *y, const float *x, const float *turned, const float *c,
                           const float *s) {
    _Pragma("GCC ivdep") for (size_t j = 0; j < d; j++) y[j] = x[j] * c[j] + turned[j] * s[j];
}
#else
static aclnnStatus run(const struct hc_call *call) {
    return rotary_forward(hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2), hc_arg(call, 3),
                          *(const int *)call->args);
}

/* The mode by number. */
static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *cos, const aclTensor *sin,
                        int64_t mode, const aclTensor *out, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_TRY(rotary_check(name, x, cos, sin, out, mode, false));
    const int args = (int)mode;
    return HC_PLAN(name, run, &args, HC_IN(x), HC_IN(cos), HC_IN(sin), HC_OUT(out));
}

/* torch_npu.npu_rotary_mul(x, cos, sin, mode). */
HC_API aclnnStatus aclnnRotaryPositionEmbeddingGetWorkspaceSize(const aclTensor *x, const aclTensor *cos,
                                                                const aclTensor *sin, int64_t mode,
                                                                aclTensor *out, uint64_t *workspaceSize,
                                                                aclOpExecutor **executor) {
    return plan("aclnnRotaryPositionEmbedding", x, cos, sin, mode, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRotaryPositionEmbedding)

/* Read-only; `turned` has a row for each of x. */
struct combine {
    struct rotary_rows rows; /* x, cos, sin, out: contiguous in the last dimension, float32 */
    const float *turned;
    size_t d;
};

/* Rows in the order of `turned`, which is x's row-major one. */
static void combine_rows(void *ctx, size_t begin, size_t end) {
    const struct combine *c = ctx;
    for (size_t row = begin; row < end; row++) {
        char *at[ROTARY_MAX_ROWS];
        rotary_rows_at(&c->rows, row, at);
        HC_DISPATCH(rotary_combine)(c->d, (float *)at[3], (const float *)at[0], c->turned + row * c->d,
                                    (const float *)at[1], (const float *)at[2]);
    }
}

/* Contiguous float32 views of x, cos, sin and out; x @ rotate by hc_gemm; then the sum row by row. */
static aclnnStatus turn_by_matrix(const aclTensor *t, const aclTensor *rotate, const aclTensor *out,
                                  float *turned) {
    const size_t d = (size_t)t[0].shape[t[0].rank - 1], rows = hc_numel(&t[0]) / d;
    const struct hc_gemm g = {.m = rows,
                              .n = d,
                              .k = d,
                              .alpha = HC_GEMM_REAL(1),
                              .beta = HC_GEMM_REAL(0),
                              .a = {.data = hc_data(&t[0]), .dtype = ACL_FLOAT, .row = (int64_t)d, .col = 1},
                              .b = {.data = hc_data(rotate),
                                    .dtype = rotate->dtype,
                                    .row = rotate->stride[0],
                                    .col = rotate->stride[1]},
                              .out = {.data = turned, .dtype = ACL_FLOAT, .row = (int64_t)d, .col = 1}};
    HC_TRY(hc_gemm(&g));
    struct combine c = {.turned = turned, .d = d};
    rotary_rows_init(&c.rows, (const aclTensor *[]){&t[0], &t[1], &t[2], &t[3]}, 4);
    hc_parallel_for(rows, hc_max_size(1, 16384 / d), combine_rows, &c);
    return hc_data(&t[3]) == hc_data(out) ? 0 : hc_copy(out, &t[3]);
}

/* Plain float32 copies of all operands: this form is rare, and the product dominates. */
static aclnnStatus run_matrix(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 4);
    if (out->numel == 0) return 0;
    aclTensor views[4];
    void *owned[4] = {0};
    aclnnStatus status = 0;
    for (int k = 0; k < 3 && status == 0; k++) {
        status = hc_contiguous_apart(hc_arg(call, k), ACL_FLOAT, out, &views[k], &owned[k]);
    }
    if (status == 0) status = hc_contiguous_out(out, ACL_FLOAT, &views[3], &owned[3]);
    float *turned = hc_block_take_array(hc_numel(out), sizeof(float));
    if (status == 0 && turned == NULL) {
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory: a copy of %s", call->name, HC_SHOW(out));
    }
    if (status == 0) status = turn_by_matrix(views, hc_arg(call, 3), out, turned);
    for (int k = 0; k < 4; k++) hc_block_give(owned[k]);
    hc_block_give(turned);
    return status;
}

/* With a matrix `mode` does not count: the matrix says which elements are paired. */
HC_API aclnnStatus aclnnRotaryPositionEmbeddingV2GetWorkspaceSize(const aclTensor *x, const aclTensor *cos,
                                                                  const aclTensor *sin, int64_t mode,
                                                                  const aclTensor *rotate, aclTensor *out,
                                                                  uint64_t *workspaceSize,
                                                                  aclOpExecutor **executor) {
    static const char NAME[] = "aclnnRotaryPositionEmbeddingV2";
    if (rotate == NULL) return plan(NAME, x, cos, sin, mode, out, workspaceSize, executor);
    HC_TRY(rotary_check(NAME, x, cos, sin, out, ROTARY_HALF, false));
    const int64_t d = x->shape[x->rank - 1];
    HC_CHECK(rotate->rank == 2 && rotate->shape[0] == d && rotate->shape[1] == d &&
                 hc_dtype_is_float(rotate->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: rotate is %s, wanted a float matrix of %lld x %lld", NAME,
             HC_SHOW(rotate), (long long)d, (long long)d);
    return HC_PLAN0(NAME, run_matrix, HC_IN(x), HC_IN(cos), HC_IN(sin), HC_IN(rotate), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnRotaryPositionEmbeddingV2)
#endif
