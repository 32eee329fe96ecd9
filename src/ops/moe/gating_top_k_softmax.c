// SPDX-License-Identifier: Apache-2.0
/* The gate of a mixture of experts: softmax over the experts, then the k largest, with their values and
 * numbers; or, with renorm, the k largest and then the softmax over those. Rows that are finished get the
 * number of experts as their number, which is none. */
#include "gating.h"

#ifdef HC_ISA
#include "simd_softmax.h"

void HC_FN(gate_softmax)(size_t n, float *y, const float *x) { vf_row_softmax(y, x, n); }

void HC_FN(gate_sigmoid)(size_t n, float *y, const float *x) {
    const vf one = vf_set(1);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, one / (one + vf_exp(-vf_load(x + i))));
    if (i < n) vf_store_part(y + i, one / (one + vf_exp(-vf_load_part(x + i, n - i))), n - i);
}
#else

struct args {
    int64_t rows, experts, k;
    bool renorm, has_row_index, has_softmax;
};

/* One call's numbers, by row. */
struct job {
    const struct args *a;
    const float *x;
    const uint8_t *finished;
    float *y, *softmax;
    int64_t *expert, *row_index;
};

static void gate_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const struct args *a = j->a;
    for (size_t r = begin; r < end; r++) {
        const float *x = j->x + r * (size_t)a->experts;
        float *p = j->softmax + r * (size_t)a->experts, *y = j->y + r * (size_t)a->k;
        int64_t *at = j->expert + r * (size_t)a->k;
        if (!a->renorm) HC_DISPATCH(gate_softmax)((size_t)a->experts, p, x);
        hc_gate_top(a->renorm ? x : p, a->experts, a->k, at);
        for (int64_t i = 0; i < a->k; i++) {
            y[i] = (a->renorm ? x : p)[at[i]];
            if (j->finished != NULL && j->finished[r]) at[i] = a->experts;
            j->row_index[r * (size_t)a->k + (size_t)i] = i * a->rows + (int64_t)r;
        }
        if (a->renorm) HC_DISPATCH(gate_softmax)((size_t)a->k, y, y);
    }
}

static aclnnStatus write_floats(const aclTensor *t, const float *values) {
    const aclTensor view = hc_tensor_view(ACL_FLOAT, t->shape, t->rank, (void *)(uintptr_t)values);
    return hc_copy(t, &view);
}

/* Operands x, finishedOptional, yOut, expertIdxOut, rowIdxOut, softmaxResultOutOptional. */
static aclnnStatus gate(const struct hc_call *call, struct job *j, float *x) {
    const struct args *a = call->args;
    const aclTensor *given = hc_arg(call, 0);
    const aclTensor copy = hc_tensor_view(ACL_FLOAT, given->shape, given->rank, x);
    HC_TRY(hc_copy(&copy, given));
    hc_parallel_for((size_t)a->rows, hc_max_size(1, 4096 / (size_t)a->experts), gate_rows, j);
    HC_TRY(write_floats(hc_arg(call, 2), j->y));
    HC_TRY(hc_moe_write_numbers(hc_arg(call, 3), j->expert));
    if (a->has_row_index) HC_TRY(hc_moe_write_numbers(hc_arg(call, 4), j->row_index));
    return a->has_softmax ? write_floats(hc_arg(call, 5), j->softmax) : 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const size_t cells = (size_t)(a->rows * a->experts), chosen = (size_t)(a->rows * a->k);
    const aclTensor *finished = hc_arg(call, 1);
    if (cells == 0 || chosen == 0) return 0;
    uint8_t *done = finished != NULL ? hc_moe_read_map(call->name, finished) : NULL;
    if (finished != NULL && done == NULL) return ACLNN_ERR_INNER;
    int64_t *memory = hc_moe_take(call->name, 2 * chosen + (2 * cells + chosen + 1) / 2);
    aclnnStatus status = ACLNN_ERR_INNER;
    if (memory != NULL) {
        float *x = (float *)(void *)(memory + 2 * chosen);
        struct job j = {.a = a,
                        .x = x,
                        .finished = done,
                        .softmax = x + cells,
                        .y = x + 2 * cells,
                        .expert = memory,
                        .row_index = memory + chosen};
        status = gate(call, &j, x);
    }
    hc_block_give(memory);
    hc_block_give(done);
    return status;
}

/* Of x's shape but for the last dimension, which is k. */
static aclnnStatus check_chosen(const char *name, const char *arg, const aclTensor *t, const aclTensor *x,
                                int64_t k, enum hc_dtype_class kind) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    bool fits = t->rank == x->rank && hc_dtype_class(t->dtype) == kind && t->shape[t->rank - 1] == k;
    for (int32_t d = 0; fits && d + 1 < x->rank; d++) fits = t->shape[d] == x->shape[d];
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s of x's shape %s with %lld at the end",
             name, arg, HC_SHOW(t), kind == HC_CLASS_INT ? "integers" : "floating point", HC_SHOW(x),
             (long long)k);
    return 0;
}

static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *finishedOptional, int64_t k,
                        const aclTensor *yOut, const aclTensor *expertIdxOut, const aclTensor *rowIdxOut,
                        const aclTensor *softmaxResultOutOptional, struct args *args, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", name);
    HC_CHECK((x->rank == 2 || x->rank == 3) && hc_dtype_is_float(x->dtype) &&
                 hc_compute_block(x->dtype) == HC_F32,
             ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float32, float16 or bfloat16 of two or three dimensions", name, HC_SHOW(x));
    args->experts = x->shape[x->rank - 1];
    args->rows = args->experts > 0 ? x->numel / args->experts : 0;
    args->k = k;
    HC_CHECK(k >= 0 && k <= args->experts, ACLNN_ERR_PARAM_INVALID, "%s: k is %lld, wanted 0 to %lld", name,
             (long long)k, (long long)args->experts);
    HC_CHECK(finishedOptional == NULL ||
                 (finishedOptional->numel == args->rows && finishedOptional->item_size == 1),
             ACLNN_ERR_PARAM_INVALID, "%s: finishedOptional is %s, wanted bool for each of %lld rows", name,
             HC_SHOW(finishedOptional), (long long)args->rows);
    HC_TRY(check_chosen(name, "yOut", yOut, x, k, HC_CLASS_FLOAT));
    HC_TRY(check_chosen(name, "expertIdxOut", expertIdxOut, x, k, HC_CLASS_INT));
    if (args->has_row_index) HC_TRY(check_chosen(name, "rowIdxOut", rowIdxOut, x, k, HC_CLASS_INT));
    else rowIdxOut = NULL;
    if (args->has_softmax)
        HC_TRY(check_chosen(name, "softmaxResultOutOptional", softmaxResultOutOptional, x, args->experts,
                            HC_CLASS_FLOAT));
    else softmaxResultOutOptional = NULL;
    return HC_PLAN(name, run, args, HC_IN(x), HC_IN_OPT(finishedOptional), HC_OUT(yOut), HC_OUT(expertIdxOut),
                   HC_OUT_OPT(rowIdxOut), HC_OUT_OPT(softmaxResultOutOptional));
}

/* rowIdxOut: choice i of row r is number i * rows + r, which aclnnMoeInitRouting takes. */
HC_API aclnnStatus aclnnMoeGatingTopKSoftmaxGetWorkspaceSize(
    const aclTensor *x, const aclTensor *finishedOptional, int64_t k, const aclTensor *yOut,
    const aclTensor *expertIdxOut, const aclTensor *rowIdxOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    struct args args = {.has_row_index = true};
    return plan("aclnnMoeGatingTopKSoftmax", x, finishedOptional, k, yOut, expertIdxOut, rowIdxOut, NULL,
                &args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeGatingTopKSoftmax)

HC_API aclnnStatus aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *finishedOptional, int64_t k, int64_t renorm,
    bool outputSoftmaxResultFlag, const aclTensor *yOut, const aclTensor *expertIdxOut,
    const aclTensor *softmaxResultOutOptional, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeGatingTopKSoftmaxV2";
    HC_CHECK(renorm == 0 || renorm == 1, ACLNN_ERR_PARAM_INVALID, "%s: renorm is %lld, wanted 0 or 1", NAME,
             (long long)renorm);
    struct args args = {.renorm = renorm == 1, .has_softmax = outputSoftmaxResultFlag && renorm == 0};
    return plan(NAME, x, finishedOptional, k, yOut, expertIdxOut, NULL, softmaxResultOutOptional, &args,
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeGatingTopKSoftmaxV2)
#endif
