// SPDX-License-Identifier: Apache-2.0
/* Cross entropy of a linear layer whose vocabulary is divided among ranks, in three steps with collectives
 * between them: largest logit and sum of exponentials of the rank's part, loss from those of all ranks, and
 * gradients of input and weight.
 *
 *     logits = input @ weight^T    d logits = grad (softmax - one-hot)
 *
 * Logits exist in float32 and for a few rows at a time, unless the caller wants them: a batch with a large
 * vocabulary would take more memory than the model. The gradient computes them again where it is not given
 * the softmax. */
#include <math.h>

#include "gemm.h"
#include "temporary.h"

HC_KERNEL(max_and_sum_F32, (size_t n, const float *x, float *max, float *sum))
HC_KERNEL(softmax_of_F32, (size_t n, float *y, const float *x, float max, float scale))
HC_KERNEL(scale_row_F32, (size_t n, float *y, const float *x, float scale))

#ifdef HC_ISA
#include "simd_math.h"
#include "simd_rows.h"

void HC_FN(max_and_sum_F32)(size_t n, const float *x, float *max, float *sum) {
    double total = 0;
    *max = vf_row_max(x, n);
    const vf m = vf_set(*max);
    HC_ROW_SUM(total, n, vf_exp(vf_load(x + at) - m),
               vf_exp(vf_load_fill(x + at, rest, -__builtin_inff()) - m));
    *sum = (float)total;
}

/* y = e^(x - max) * scale; y may be x. */
void HC_FN(softmax_of_F32)(size_t n, float *y, const float *x, float max, float scale) {
    const vf m = vf_set(max), s = vf_set(scale);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, vf_exp(vf_load(x + i) - m) * s);
    if (i < n) vf_store_part(y + i, vf_exp(vf_load_part(x + i, n - i) - m) * s, n - i);
}

void HC_FN(scale_row_F32)(size_t n, float *y, const float *x, float scale) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale;
}

#else
/* Of the logits that exist at a time. */
enum { CHUNK_BYTES = 64 << 20, CHUNK_ROWS = 64 };

struct args {
    int64_t first, last; /* of the vocabulary, both the rank's own */
};

static size_t chunk_rows(size_t rows, size_t vocabulary) {
    const size_t fit = CHUNK_BYTES / sizeof(float) / hc_max_size(vocabulary, 1);
    return hc_min_size(rows, hc_max_size(fit, CHUNK_ROWS));
}

static struct hc_gemm_matrix matrix_of(const aclTensor *t, int64_t first_row, bool transposed) {
    const int64_t row = t->stride[0], col = t->stride[1];
    return (struct hc_gemm_matrix){.data = hc_data(t) + first_row * row * t->item_size,
                                   .dtype = t->dtype,
                                   .row = transposed ? col : row,
                                   .col = transposed ? row : col};
}

/* logits[0..n) of rows from `first` on. */
static aclnnStatus compute_logits(const aclTensor *input, const aclTensor *weight, int64_t first, size_t n,
                                  float *logits) {
    const size_t vocabulary = (size_t)weight->shape[0];
    return hc_gemm(&(const struct hc_gemm){.m = n,
                                           .n = vocabulary,
                                           .k = (size_t)input->shape[1],
                                           .a = matrix_of(input, first, false),
                                           .b = matrix_of(weight, 0, true),
                                           .out = {logits, ACL_FLOAT, (int64_t)vocabulary, 1, {0}},
                                           .alpha = HC_GEMM_REAL(1)});
}

static void *take(const char *name, size_t count, size_t item) {
    void *memory = hc_block_take_array(count, item);
    if (memory == NULL)
        hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu items of %zu bytes", name, count, item);
    return memory;
}

/* What all rows of a call have, by row: plain copies. */
struct rows {
    float *max, *sum, *predicted;
    int64_t *target; /* in the rank's part, 0 where it is not there */
    uint8_t *absent;
    size_t vocabulary;
};

struct piece {
    const struct rows *rows;
    float *logits;
    size_t first;
};

static void reduce_rows(void *ctx, size_t begin, size_t end) {
    const struct piece *p = ctx;
    const struct rows *r = p->rows;
    for (size_t i = begin; i < end; i++) {
        const float *x = p->logits + i * r->vocabulary;
        const size_t at = p->first + i;
        HC_DISPATCH(max_and_sum_F32)(r->vocabulary, x, &r->max[at], &r->sum[at]);
        r->predicted[at] = r->absent[at] ? 0 : x[r->target[at]] - r->max[at];
    }
}

static size_t row_grain(size_t vocabulary) { return hc_max_size(1, 16 * 1024 / hc_max_size(vocabulary, 1)); }

/* The rank's targets. One that is its own by the numbers of the vocabulary has a row of weight. */
static aclnnStatus find_targets(const struct hc_call *call, const aclTensor *target, const struct rows *r) {
    const struct args *a = call->args;
    const aclTensor copy = hc_tensor_view(ACL_INT64, target->shape, 1, r->target);
    HC_TRY(hc_copy(&copy, target));
    for (int64_t i = 0; i < target->numel; i++) {
        const int64_t t = r->target[i];
        r->absent[i] = t < a->first || t > a->last;
        r->target[i] = r->absent[i] ? 0 : t - a->first;
        HC_CHECK(
            r->absent[i] || r->target[i] < (int64_t)r->vocabulary, ACLNN_ERR_PARAM_INVALID,
            "%s: index %lld at position [%lld] of target is out of range: weight has rows for %lld to %lld",
            call->name, (long long)t, (long long)i, (long long)a->first,
            (long long)a->first + (long long)r->vocabulary - 1);
    }
    return 0;
}

/* A bit for each row, the first the highest of its byte; bits behind the last row are set. */
static aclnnStatus write_mask(const aclTensor *mask, const uint8_t *absent, size_t n) {
    const size_t bytes = hc_ceil_div(n, 8);
    uint8_t *packed = take("target mask", bytes, 1);
    if (packed == NULL) return ACLNN_ERR_INNER;
    for (size_t b = 0; b < bytes; b++) {
        packed[b] = 0;
        for (size_t i = 8 * b; i < 8 * b + 8; i++)
            packed[b] = (uint8_t)(packed[b] << 1 | (i < n ? absent[i] : 1));
    }
    const aclTensor view = hc_tensor_view(ACL_UINT8, mask->shape, mask->rank, packed);
    const aclnnStatus status = hc_copy(mask, &view);
    hc_block_give(packed);
    return status;
}

static aclnnStatus write_rows(const aclTensor *out, aclDataType dtype, const void *values) {
    const aclTensor view = hc_tensor_view(dtype, out->shape, out->rank, (void *)(uintptr_t)values);
    return hc_copy(out, &view);
}

/* Operands input, weight, target, then the outputs in the interface's order. */
static aclnnStatus all_chunks(const struct hc_call *call, const struct rows *r, float *logits, size_t chunk) {
    const aclTensor *input = hc_arg(call, 0), *weight = hc_arg(call, 1), *wanted = hc_arg(call, 8);
    const size_t n = (size_t)input->shape[0];
    HC_TRY(find_targets(call, hc_arg(call, 2), r));
    for (size_t first = 0; first < n; first += chunk) {
        const size_t count = hc_min_size(chunk, n - first);
        HC_TRY(compute_logits(input, weight, (int64_t)first, count, logits));
        struct piece p = {r, logits, first};
        hc_parallel_for(count, row_grain(r->vocabulary), reduce_rows, &p);
        if (wanted == NULL) continue;
        aclTensor part = *wanted;
        part.offset += (int64_t)first * part.stride[0];
        part.shape[0] = (int64_t)count;
        part.numel = part.shape[0] * part.shape[1];
        HC_TRY(write_rows(&part, ACL_FLOAT, logits));
    }
    HC_TRY(write_rows(hc_arg(call, 3), ACL_FLOAT, r->max));
    HC_TRY(write_rows(hc_arg(call, 4), ACL_FLOAT, r->sum));
    HC_TRY(write_rows(hc_arg(call, 5), ACL_FLOAT, r->predicted));
    HC_TRY(write_mask(hc_arg(call, 6), r->absent, n));
    return write_rows(hc_arg(call, 7), ACL_INT64, r->target);
}

static aclnnStatus run(const struct hc_call *call) {
    const size_t n = (size_t)hc_arg(call, 0)->shape[0], vocabulary = (size_t)hc_arg(call, 1)->shape[0];
    const size_t chunk = chunk_rows(n, vocabulary);
    if (n == 0) return 0;
    int64_t *memory = take(call->name, 3 * n, sizeof *memory); /* 8 + 3 * 4 + 1 bytes for each row */
    float *logits = take(call->name, chunk, vocabulary * sizeof *logits);
    aclnnStatus status = ACLNN_ERR_INNER;
    if (memory != NULL && logits != NULL) {
        float *reals = (float *)(void *)(memory + n);
        const struct rows r = {reals,     reals + n, reals + 2 * n, memory, (uint8_t *)(reals + 3 * n),
                               vocabulary};
        status = all_chunks(call, &r, logits, chunk);
    }
    hc_block_give(logits);
    hc_block_give(memory);
    return status;
}

static aclnnStatus check_matrices(const char *name, const aclTensor *input, const aclTensor *weight) {
    HC_CHECK(input && weight, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, input ? "weight" : "input");
    HC_CHECK(input->rank == 2 && weight->rank == 2 && input->shape[1] == weight->shape[1],
             ACLNN_ERR_PARAM_INVALID, "%s: input is %s, weight %s, wanted [rows, H] and [vocabulary, H]",
             name, HC_SHOW(input), HC_SHOW(weight));
    const bool known = hc_dtype_is_float(input->dtype) && hc_compute_block(input->dtype) == HC_F32;
    HC_CHECK(known && input->dtype == weight->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: input is %s, weight %s, wanted both bfloat16, float16 or float32", name, HC_SHOW(input),
             HC_SHOW(weight));
    return 0;
}

/* One value for each row. */
static aclnnStatus check_row_values(const char *name, const char *arg, const aclTensor *t, int64_t n,
                                    enum hc_dtype_class kind) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(t->rank == 1 && t->numel == n && hc_dtype_class(t->dtype) == kind, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %lld %s", name, arg, HC_SHOW(t), (long long)n,
             kind == HC_CLASS_FLOAT ? "floating point values" : "integers");
    return 0;
}

static aclnnStatus check_mask(const char *name, const char *arg, const aclTensor *mask, int64_t n) {
    HC_CHECK(mask != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(mask->numel == (n + 7) / 8 && mask->dtype == ACL_UINT8, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted uint8[%lld], a bit for each of %lld rows", name, arg, HC_SHOW(mask),
             (long long)((n + 7) / 8), (long long)n);
    return 0;
}

static aclnnStatus check_matrix_like(const char *name, const char *arg, const aclTensor *t, int64_t rows,
                                     int64_t cols) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(t->rank == 2 && t->shape[0] == rows && t->shape[1] == cols && hc_dtype_is_float(t->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted floating point [%lld,%lld]", name, arg,
             HC_SHOW(t), (long long)rows, (long long)cols);
    return 0;
}

/* The predicted logit has the row's largest already subtracted, and is 0 where the target is another rank's.
 */
HC_API aclnnStatus aclnnFusedLinearOnlineMaxSumGetWorkspaceSize(
    const aclTensor *input, const aclTensor *weight, const aclTensor *target, int64_t vocabStartIndex,
    int64_t vocabEndIndex, aclTensor *logitsMaxLocalOut, aclTensor *sumExpLogitsLocalOut,
    aclTensor *predictedLogitsLocalOut, aclTensor *targetMaskOut, aclTensor *maskedTargetOut,
    aclTensor *vocabParallelLogitsOutOptional, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnFusedLinearOnlineMaxSum";
    HC_TRY(check_matrices(NAME, input, weight));
    const int64_t n = input->shape[0];
    HC_CHECK(vocabStartIndex >= 0 && vocabEndIndex >= vocabStartIndex, ACLNN_ERR_PARAM_INVALID,
             "%s: vocabStartIndex is %lld, vocabEndIndex %lld, wanted 0 or more in this order", NAME,
             (long long)vocabStartIndex, (long long)vocabEndIndex);
    HC_CHECK(weight->shape[0] > 0, ACLNN_ERR_PARAM_INVALID, "%s: weight is %s, wanted a vocabulary", NAME,
             HC_SHOW(weight));
    HC_TRY(check_row_values(NAME, "target", target, n, HC_CLASS_INT));
    HC_TRY(check_row_values(NAME, "logitsMaxLocalOut", logitsMaxLocalOut, n, HC_CLASS_FLOAT));
    HC_TRY(check_row_values(NAME, "sumExpLogitsLocalOut", sumExpLogitsLocalOut, n, HC_CLASS_FLOAT));
    HC_TRY(check_row_values(NAME, "predictedLogitsLocalOut", predictedLogitsLocalOut, n, HC_CLASS_FLOAT));
    HC_TRY(check_mask(NAME, "targetMaskOut", targetMaskOut, n));
    HC_TRY(check_row_values(NAME, "maskedTargetOut", maskedTargetOut, n, HC_CLASS_INT));
    if (vocabParallelLogitsOutOptional != NULL)
        HC_TRY(check_matrix_like(NAME, "vocabParallelLogitsOutOptional", vocabParallelLogitsOutOptional, n,
                                 weight->shape[0]));
    const struct args args = {vocabStartIndex, vocabEndIndex};
    return HC_PLAN(NAME, run, &args, HC_IN(input), HC_IN(weight), HC_IN(target), HC_OUT(logitsMaxLocalOut),
                   HC_OUT(sumExpLogitsLocalOut), HC_OUT(predictedLogitsLocalOut), HC_OUT(targetMaskOut),
                   HC_OUT(maskedTargetOut), HC_OUT_OPT(vocabParallelLogitsOutOptional));
}
HC_OP_LAUNCH(aclnnFusedLinearOnlineMaxSum)

/* The rows of a step: what there is of softmax or logits, to what is wanted. */
struct scaling {
    const float *max, *scale;
    float *x;
    size_t vocabulary;
    const int64_t *target; /* NULL: nothing is subtracted */
    const uint8_t *absent;
    const float *grad;
    bool is_softmax;
};

/* x becomes its softmax, or what it contributes to the gradient of the logits. */
static void scale_rows(void *ctx, size_t begin, size_t end) {
    const struct scaling *s = ctx;
    for (size_t i = begin; i < end; i++) {
        float *x = s->x + i * s->vocabulary;
        if (s->is_softmax) HC_DISPATCH(scale_row_F32)(s->vocabulary, x, x, s->scale[i]);
        else HC_DISPATCH(softmax_of_F32)(s->vocabulary, x, x, s->max[i], s->scale[i]);
        if (s->target != NULL && !s->absent[i]) x[s->target[i]] -= s->grad[i];
    }
}

/* The part of `t` that begins at row `first`, as float32 in `to`. */
static aclnnStatus load_rows(const aclTensor *t, size_t first, size_t n, float *to) {
    aclTensor part = *t;
    part.offset += (int64_t)first * part.stride[0];
    part.shape[0] = (int64_t)n;
    part.numel = part.rank == 1 ? part.shape[0] : part.shape[0] * part.shape[1];
    const aclTensor view = hc_tensor_view(ACL_FLOAT, part.shape, part.rank, to);
    return hc_copy(&view, &part);
}

/* Operands logitsMax, sumExpLogits, predictedLogits, vocabParallelLogitsOptional, lossOut,
 * softMaxOutOptional. */
static aclnnStatus softmax_and_loss(const struct hc_call *call, float *own, float *logits, size_t chunk) {
    const aclTensor *given = hc_arg(call, 3), *softmax = hc_arg(call, 5);
    const size_t n = hc_numel(hc_arg(call, 0));
    float *max = own, *sum = own + n, *loss = own + 2 * n;
    HC_TRY(load_rows(hc_arg(call, 0), 0, n, max));
    HC_TRY(load_rows(hc_arg(call, 1), 0, n, sum));
    HC_TRY(load_rows(hc_arg(call, 2), 0, n, loss));
    for (size_t i = 0; i < n; i++) {
        loss[i] = (float)(log((double)sum[i]) - (double)loss[i]);
        sum[i] = 1 / sum[i];
    }
    HC_TRY(write_rows(hc_arg(call, 4), ACL_FLOAT, loss));
    if (softmax == NULL) return 0;
    for (size_t first = 0; first < n; first += chunk) {
        const size_t count = hc_min_size(chunk, n - first), vocabulary = (size_t)given->shape[1];
        HC_TRY(load_rows(given, first, count, logits));
        struct scaling s = {.max = max + first, .scale = sum + first, .x = logits, .vocabulary = vocabulary};
        hc_parallel_for(count, row_grain(vocabulary), scale_rows, &s);
        aclTensor part = *softmax;
        part.offset += (int64_t)first * part.stride[0];
        part.shape[0] = (int64_t)count;
        part.numel = part.shape[0] * part.shape[1];
        HC_TRY(write_rows(&part, ACL_FLOAT, logits));
    }
    return 0;
}

static aclnnStatus run_loss(const struct hc_call *call) {
    const aclTensor *given = hc_arg(call, 3);
    const size_t n = hc_numel(hc_arg(call, 0)), vocabulary = given != NULL ? (size_t)given->shape[1] : 0;
    const size_t chunk = chunk_rows(n, vocabulary);
    if (n == 0) return 0;
    float *own = take(call->name, 3 * n, sizeof *own);
    float *logits = take(call->name, chunk, vocabulary * sizeof *logits);
    aclnnStatus status = ACLNN_ERR_INNER;
    if (own != NULL && logits != NULL) status = softmax_and_loss(call, own, logits, chunk);
    hc_block_give(logits);
    hc_block_give(own);
    return status;
}

static aclnnStatus check_smoothing(const char *name, double smoothing) {
    HC_CHECK(smoothing == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: labelSmoothing is %g, wanted 0: smoothing is not supported", name, smoothing);
    return 0;
}

/* ln(sum) - predicted, and the softmax of the rank's part where its logits are given. */
HC_API aclnnStatus aclnnFusedCrossEntropyLossWithMaxSumGetWorkspaceSize(
    const aclTensor *logitsMax, const aclTensor *sumExpLogits, const aclTensor *predictedLogits,
    double labelSmoothing, const aclTensor *inputOptional, const aclTensor *weightOptional,
    const aclTensor *vocabParallelLogitsOptional, aclTensor *lossOut, aclTensor *softMaxOutOptional,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnFusedCrossEntropyLossWithMaxSum";
    HC_TRY(check_smoothing(NAME, labelSmoothing));
    HC_CHECK(inputOptional == NULL && weightOptional == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted none: logits are taken, not computed", NAME,
             inputOptional ? "inputOptional" : "weightOptional",
             HC_SHOW(inputOptional ? inputOptional : weightOptional));
    HC_CHECK(logitsMax != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: logitsMax is null", NAME);
    const int64_t n = logitsMax->numel;
    HC_TRY(check_row_values(NAME, "logitsMax", logitsMax, n, HC_CLASS_FLOAT));
    HC_TRY(check_row_values(NAME, "sumExpLogits", sumExpLogits, n, HC_CLASS_FLOAT));
    HC_TRY(check_row_values(NAME, "predictedLogits", predictedLogits, n, HC_CLASS_FLOAT));
    HC_TRY(check_row_values(NAME, "lossOut", lossOut, n, HC_CLASS_FLOAT));
    if (vocabParallelLogitsOptional != NULL) {
        HC_TRY(check_matrix_like(NAME, "vocabParallelLogitsOptional", vocabParallelLogitsOptional, n,
                                 vocabParallelLogitsOptional->shape[1]));
        HC_TRY(check_matrix_like(NAME, "softMaxOutOptional", softMaxOutOptional, n,
                                 vocabParallelLogitsOptional->shape[1]));
    } else {
        softMaxOutOptional = NULL;
    }
    return HC_PLAN0(NAME, run_loss, HC_IN(logitsMax), HC_IN(sumExpLogits), HC_IN(predictedLogits),
                    HC_IN_OPT(vocabParallelLogitsOptional), HC_OUT(lossOut), HC_OUT_OPT(softMaxOutOptional));
}
HC_OP_LAUNCH(aclnnFusedCrossEntropyLossWithMaxSum)

/* Operands grad, input, weight, targetMask, maskedTarget, logitsMaxOptional, sumExpLogitsOptional,
 * softmaxOptional, inputGradOut, weightGradOut. */
struct gradient {
    const aclTensor *input, *weight, *softmax, *input_grad, *weight_grad;
    float *grad, *max, *scale; /* scale: of the exponentials, or of the softmax */
    int64_t *target;
    uint8_t *absent;
    float *logits;
    float *weight_sum; /* of all chunks; NULL: in weight_grad itself */
    size_t n, chunk;
};

static aclnnStatus read_gradient(const struct hc_call *call, const struct gradient *g) {
    const aclTensor *mask = hc_arg(call, 3), *target = hc_arg(call, 4);
    const size_t bytes = hc_ceil_div(g->n, 8);
    uint8_t *packed = take(call->name, bytes, 1);
    if (packed == NULL) return ACLNN_ERR_INNER;
    const aclTensor bits = hc_tensor_view(ACL_UINT8, mask->shape, mask->rank, packed);
    aclnnStatus status = hc_copy(&bits, mask);
    for (size_t i = 0; i < g->n && status == 0; i++) g->absent[i] = packed[i / 8] >> (7 - i % 8) & 1;
    hc_block_give(packed);
    HC_TRY(status);
    HC_TRY(load_rows(hc_arg(call, 0), 0, g->n, g->grad));
    const aclTensor copy = hc_tensor_view(ACL_INT64, target->shape, 1, g->target);
    HC_TRY(hc_copy(&copy, target));
    for (size_t i = 0; i < g->n; i++) {
        HC_CHECK(g->absent[i] || (g->target[i] >= 0 && g->target[i] < g->weight->shape[0]),
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld at position [%zu] of maskedTarget is out of range: wanted 0 to %lld",
                 call->name, (long long)g->target[i], i, (long long)g->weight->shape[0] - 1);
    }
    if (g->softmax == NULL) {
        HC_TRY(load_rows(hc_arg(call, 5), 0, g->n, g->max));
        HC_TRY(load_rows(hc_arg(call, 6), 0, g->n, g->scale));
    }
    for (size_t i = 0; i < g->n; i++)
        g->scale[i] = g->softmax == NULL ? g->grad[i] / g->scale[i] : g->grad[i];
    return 0;
}

/* Rows from `first` on: gradient of their logits, then of input, and what they add to that of weight. */
static aclnnStatus one_chunk(const struct gradient *g, size_t first, size_t n) {
    const int64_t vocabulary = g->weight->shape[0], hidden = g->weight->shape[1];
    if (g->softmax != NULL) HC_TRY(load_rows(g->softmax, first, n, g->logits));
    else HC_TRY(compute_logits(g->input, g->weight, (int64_t)first, n, g->logits));
    struct scaling s = {.max = g->max + first,
                        .scale = g->scale + first,
                        .x = g->logits,
                        .vocabulary = (size_t)vocabulary,
                        .target = g->target + first,
                        .absent = g->absent + first,
                        .grad = g->grad + first,
                        .is_softmax = g->softmax != NULL};
    hc_parallel_for(n, row_grain((size_t)vocabulary), scale_rows, &s);
    const struct hc_gemm_matrix logits = {g->logits, ACL_FLOAT, vocabulary, 1, {0}};
    const struct hc_gemm_matrix across = {g->logits, ACL_FLOAT, 1, vocabulary, {0}};
    HC_TRY(hc_gemm(&(const struct hc_gemm){.m = n,
                                           .n = (size_t)hidden,
                                           .k = (size_t)vocabulary,
                                           .a = logits,
                                           .b = matrix_of(g->weight, 0, false),
                                           .out = matrix_of(g->input_grad, (int64_t)first, false),
                                           .alpha = HC_GEMM_REAL(1)}));
    struct hc_gemm product = {.m = (size_t)vocabulary,
                              .n = (size_t)hidden,
                              .k = n,
                              .a = across,
                              .b = matrix_of(g->input, (int64_t)first, false),
                              .out = matrix_of(g->weight_grad, 0, false),
                              .alpha = HC_GEMM_REAL(1),
                              .beta = HC_GEMM_REAL(1)};
    const struct hc_gemm_matrix sum = {g->weight_sum, ACL_FLOAT, hidden, 1, {0}};
    if (first > 0) product.self = sum;
    if (first + n < g->n) product.out = sum; /* the last goes to the result, rounded once */
    return hc_gemm(&product);
}

static aclnnStatus run_gradient(const struct hc_call *call) {
    struct gradient g = {.input = hc_arg(call, 1),
                         .weight = hc_arg(call, 2),
                         .softmax = hc_arg(call, 7),
                         .input_grad = hc_arg(call, 8),
                         .weight_grad = hc_arg(call, 9)};
    g.n = (size_t)g.input->shape[0];
    if (g.n == 0) return hc_fill(g.weight_grad, &(const struct hc_element){{0}});
    const size_t vocabulary = (size_t)g.weight->shape[0];
    g.chunk = chunk_rows(g.n, vocabulary);
    int64_t *memory = take(call->name, 3 * g.n, sizeof *memory);
    g.logits = take(call->name, g.chunk, vocabulary * sizeof *g.logits);
    if (g.chunk < g.n) g.weight_sum = take(call->name, hc_numel(g.weight), sizeof *g.weight_sum);
    aclnnStatus status = ACLNN_ERR_INNER;
    if (memory != NULL && g.logits != NULL && (g.chunk == g.n || g.weight_sum != NULL)) {
        g.target = memory;
        g.grad = (float *)(void *)(memory + g.n);
        g.max = g.grad + g.n;
        g.scale = g.max + g.n;
        g.absent = (uint8_t *)(g.scale + g.n);
        status = read_gradient(call, &g);
        for (size_t first = 0; first < g.n && status == 0; first += g.chunk)
            status = one_chunk(&g, first, hc_min_size(g.chunk, g.n - first));
    }
    hc_block_give(g.weight_sum);
    hc_block_give(g.logits);
    hc_block_give(memory);
    return status;
}

HC_API aclnnStatus aclnnFusedLinearCrossEntropyLossGradGetWorkspaceSize(
    const aclTensor *grad, const aclTensor *input, const aclTensor *weight, const aclTensor *targetMask,
    const aclTensor *maskedTarget, double labelSmoothing, const aclTensor *logitsMaxOptional,
    const aclTensor *sumExpLogitsOptional, const aclTensor *softmaxOptional, aclTensor *inputGradOut,
    aclTensor *weightGradOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnFusedLinearCrossEntropyLossGrad";
    HC_TRY(check_smoothing(NAME, labelSmoothing));
    HC_TRY(check_matrices(NAME, input, weight));
    const int64_t n = input->shape[0], vocabulary = weight->shape[0], hidden = weight->shape[1];
    HC_TRY(check_row_values(NAME, "grad", grad, n, HC_CLASS_FLOAT));
    HC_TRY(check_mask(NAME, "targetMask", targetMask, n));
    HC_TRY(check_row_values(NAME, "maskedTarget", maskedTarget, n, HC_CLASS_INT));
    HC_TRY(check_matrix_like(NAME, "inputGradOut", inputGradOut, n, hidden));
    HC_TRY(check_matrix_like(NAME, "weightGradOut", weightGradOut, vocabulary, hidden));
    HC_CHECK(hc_compute_block(inputGradOut->dtype) == HC_F32 &&
                 hc_compute_block(weightGradOut->dtype) == HC_F32,
             ACLNN_ERR_PARAM_INVALID, "%s: inputGradOut is %s, weightGradOut %s, wanted no float64", NAME,
             HC_SHOW(inputGradOut), HC_SHOW(weightGradOut));
    HC_CHECK(!hc_overlaps(inputGradOut, input) && !hc_overlaps(inputGradOut, weight) &&
                 !hc_overlaps(weightGradOut, input) && !hc_overlaps(weightGradOut, weight),
             ACLNN_ERR_PARAM_INVALID, "%s: a gradient lies over input or weight", NAME);
    if (softmaxOptional != NULL) {
        HC_TRY(check_matrix_like(NAME, "softmaxOptional", softmaxOptional, n, vocabulary));
        logitsMaxOptional = sumExpLogitsOptional = NULL;
    } else {
        HC_TRY(check_row_values(NAME, "logitsMaxOptional", logitsMaxOptional, n, HC_CLASS_FLOAT));
        HC_TRY(check_row_values(NAME, "sumExpLogitsOptional", sumExpLogitsOptional, n, HC_CLASS_FLOAT));
    }
    return HC_PLAN0(NAME, run_gradient, HC_IN(grad), HC_IN(input), HC_IN(weight), HC_IN(targetMask),
                    HC_IN(maskedTarget), HC_IN_OPT(logitsMaxOptional), HC_IN_OPT(sumExpLogitsOptional),
                    HC_IN_OPT(softmaxOptional), HC_OUT(inputGradOut), HC_OUT(weightGradOut));
}
HC_OP_LAUNCH(aclnnFusedLinearCrossEntropyLossGrad)
#endif
