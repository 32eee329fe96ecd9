// SPDX-License-Identifier: Apache-2.0
/* Two results of attention over parts of the keys as one: with m the larger of the maxima,
 *
 *     sum = sum1 e^(max1 - m) + sum2 e^(max2 - m)    out = (out1 sum1 e^(max1 - m) + out2 sum2 e^(max2 - m))
 * / sum
 *
 * for each token and head: context parallelism, where keys go around a ring. Weights are computed in double,
 * rows in float. In layout SBH maxima lie as [B, N, S, 8]; in TND by token as [T, N, 8], or by sequence, each
 * as [N, S, 8], as attention itself gives them. All eight values are the same. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "temporary.h"

HC_KERNEL(ring_update_F32,
          (size_t n, float *y, const float *a, const float *b, float weight_a, float weight_b))

#ifdef HC_ISA
void HC_FN(ring_update_F32)(size_t n, float *y, const float *a, const float *b, float weight_a,
                            float weight_b) {
    for (size_t i = 0; i < n; i++) y[i] = a[i] * weight_a + b[i] * weight_b;
}
#else
enum { COPIES = 8 };

/* by_sequence: maxima of TND lie by sequence. */
struct args {
    bool packed, by_sequence;
    int64_t tokens, heads, width; /* tokens: S * B */
};

/* Everything contiguous. Softmax row of head n of token t: base[t] + n * step[t]. */
struct job {
    const struct args *a;
    const char *out1, *out2;
    char *out;
    size_t item;
    const float *max1, *sum1, *max2, *sum2;
    float *max, *sum;
    const int64_t *base, *step;
    hc_load_fn *load;
    hc_store_fn *store;
};

/* A row that saw no key has FLT_MAX as its sum, and so has the row of two of them. */
static float narrowed(double sum) { return sum > FLT_MAX && sum < INFINITY ? FLT_MAX : (float)sum; }

static void update_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const size_t heads = (size_t)j->a->heads, width = (size_t)j->a->width;
    _Alignas(64) float a[HC_EW_BLOCK], b[HC_EW_BLOCK];
    for (size_t row = begin; row < end; row++) {
        const size_t t = row / heads, n = row % heads;
        const int64_t at = (j->base[t] + (int64_t)n * j->step[t]) * COPIES;
        const float m = j->max2[at] > j->max1[at] || j->max2[at] != j->max2[at] ? j->max2[at] : j->max1[at];
        const double part1 = (double)j->sum1[at] * exp((double)j->max1[at] - (double)m);
        const double part2 = (double)j->sum2[at] * exp((double)j->max2[at] - (double)m), sum = part1 + part2;
        for (int i = 0; i < COPIES; i++) j->max[at + i] = m, j->sum[at + i] = narrowed(sum);
        for (size_t d = 0; d < width; d += HC_EW_BLOCK) {
            const size_t count = hc_min_size(HC_EW_BLOCK, width - d), from = (row * width + d) * j->item;
            j->load(count, a, j->out1 + from, 1);
            j->load(count, b, j->out2 + from, 1);
            HC_DISPATCH(ring_update_F32)(count, a, a, b, (float)(part1 / sum), (float)(part2 / sum));
            j->store(count, j->out + from, 1, a);
        }
    }
}

/* Sequences by their ends; a zero in front is allowed. */
static aclnnStatus read_sequences(const struct hc_call *call, const struct args *a, int64_t *ends,
                                  int64_t *base, int64_t *step) {
    const aclTensor *lengths = hc_arg(call, 6);
    const aclTensor copy = hc_tensor_view(ACL_INT64, lengths->shape, lengths->rank, ends);
    HC_TRY(hc_copy(&copy, lengths));
    int64_t first = 0;
    for (int64_t i = 0; i < lengths->numel; i++) {
        HC_CHECK(ends[i] >= first && ends[i] <= a->tokens, ACLNN_ERR_PARAM_INVALID,
                 "%s: actualSeqQlenOptional[%lld] is %lld, wanted %lld to %lld: the end of a sequence",
                 call->name, (long long)i, (long long)ends[i], (long long)first, (long long)a->tokens);
        for (int64_t t = first; t < ends[i]; t++) {
            base[t] = first * a->heads + (t - first);
            step[t] = ends[i] - first;
        }
        first = ends[i];
    }
    HC_CHECK(first == a->tokens, ACLNN_ERR_PARAM_INVALID,
             "%s: actualSeqQlenOptional ends at %lld, wanted the %lld tokens there are", call->name,
             (long long)first, (long long)a->tokens);
    return 0;
}

/* Where the maxima of every token lie. */
static aclnnStatus find_rows(const struct hc_call *call, const struct args *a, int64_t *base, int64_t *step,
                             int64_t *ends) {
    const aclTensor *out = hc_arg(call, 0);
    if (a->by_sequence) return read_sequences(call, a, ends, base, step);
    const int64_t batches = a->packed ? 1 : out->shape[1], length = a->packed ? 1 : out->shape[0];
    for (int64_t t = 0; t < a->tokens; t++) {
        base[t] = a->packed ? t * a->heads : t % batches * a->heads * length + t / batches;
        step[t] = length;
    }
    return 0;
}

enum { OPERANDS = 10, OUTPUTS = 7 }; /* the first of the outputs */

/* Operands prevAttnOut, prevSoftmaxMax, prevSoftmaxSum, curAttnOut, curSoftmaxMax, curSoftmaxSum,
 * actualSeqQlenOptional, attnOutOut, softmaxMaxOut, softmaxSumOut. */
static aclnnStatus update(const struct hc_call *call, const aclTensor *view, const int64_t *base,
                          const int64_t *step) {
    const struct args *a = call->args;
    struct job j = {.a = a,
                    .out1 = hc_data(&view[0]),
                    .out2 = hc_data(&view[3]),
                    .out = hc_data(&view[7]),
                    .item = (size_t)view[0].item_size,
                    .max1 = (const float *)(void *)hc_data(&view[1]),
                    .sum1 = (const float *)(void *)hc_data(&view[2]),
                    .max2 = (const float *)(void *)hc_data(&view[4]),
                    .sum2 = (const float *)(void *)hc_data(&view[5]),
                    .max = (float *)(void *)hc_data(&view[8]),
                    .sum = (float *)(void *)hc_data(&view[9]),
                    .base = base,
                    .step = step,
                    .load = hc_load_for(view[0].dtype, HC_F32),
                    .store = hc_store_for(view[0].dtype, HC_F32)};
    const size_t grain = hc_max_size(1, 8192 / hc_max_size((size_t)a->width, 1));
    hc_parallel_for((size_t)(a->tokens * a->heads), grain, update_rows, &j);
    return 0;
}

/* Contiguous operands; those of the results only to be written. Inputs that an output lies over in part are
 * copied; the very memory of an output is read before it is written. */
static aclnnStatus open_operands(const struct hc_call *call, aclTensor *view, void **owned) {
    for (int i = 0; i < OPERANDS; i++) {
        const aclTensor *t = hc_arg(call, i);
        if (i == 6) continue;
        if (i >= OUTPUTS) {
            HC_TRY(hc_contiguous_out(t, t->dtype, &view[i], &owned[i]));
            continue;
        }
        const aclTensor *over = NULL;
        for (int k = OUTPUTS; k < OPERANDS; k++) {
            if (hc_overlaps_partly(t, hc_arg(call, k))) over = hc_arg(call, k);
        }
        HC_TRY(over != NULL ? hc_contiguous_apart(t, t->dtype, over, &view[i], &owned[i])
                            : hc_contiguous(t, t->dtype, &view[i], &owned[i]));
    }
    return 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    aclTensor view[OPERANDS];
    void *owned[OPERANDS] = {NULL};
    const size_t ends = a->by_sequence ? hc_numel(hc_arg(call, 6)) : 0;
    int64_t *base = hc_block_take_array(2 * (size_t)a->tokens + ends, sizeof *base), *step = base + a->tokens;
    HC_CHECK(base != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld tokens", call->name,
             (long long)a->tokens);
    aclnnStatus status = find_rows(call, a, base, step, step + a->tokens);
    if (status == 0) status = open_operands(call, view, owned);
    if (status == 0) status = update(call, view, base, step);
    for (int i = OUTPUTS; i < OPERANDS && status == 0; i++) {
        if (owned[i] != NULL) status = hc_copy(hc_arg(call, i), &view[i]);
    }
    for (int i = 0; i < OPERANDS; i++) hc_block_give(owned[i]);
    hc_block_give(base);
    return status;
}

/* The maxima's shape: [B, N, S, 8] of [S, B, H], or [T, N, 8] of [T, N, D]. */
static aclnnStatus check_softmax(const char *name, const char *arg, const aclTensor *t, const aclTensor *like,
                                 const aclTensor *out, bool packed) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    const bool rank =
        t->rank == (packed ? 3 : 4) && hc_same_shape(t, like) && t->shape[t->rank - 1] == COPIES;
    const bool fits = rank && (packed ? t->shape[0] == out->shape[0] && t->shape[1] == out->shape[1]
                                      : t->shape[0] == out->shape[1] && t->shape[2] == out->shape[0]);
    HC_CHECK(fits && t->dtype == ACL_FLOAT, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted float32 %s for attention %s", name, arg, HC_SHOW(t),
             packed ? "[T,N,8]" : "[B,N,S,8]", HC_SHOW(out));
    return 0;
}

static aclnnStatus check_layouts(const char *name, const char *input, const char *softmax, struct args *a) {
    HC_CHECK(input != NULL && (strcmp(input, "SBH") == 0 || strcmp(input, "TND") == 0),
             ACLNN_ERR_PARAM_INVALID, "%s: inputLayoutOptional is \"%s\", wanted SBH or TND", name,
             input != NULL ? input : "null");
    const bool known = softmax == NULL || strcmp(softmax, "") == 0 || strcmp(softmax, "SBH") == 0 ||
                       strcmp(softmax, "TND") == 0;
    HC_CHECK(known, ACLNN_ERR_PARAM_INVALID,
             "%s: inputSoftmaxLayoutOptional is \"%s\", wanted none, SBH or TND", name, softmax);
    a->packed = strcmp(input, "TND") == 0;
    a->by_sequence = a->packed && (softmax == NULL || strcmp(softmax, "TND") != 0);
    return 0;
}

HC_API aclnnStatus aclnnRingAttentionUpdateV2GetWorkspaceSize(
    const aclTensor *prevAttnOut, const aclTensor *prevSoftmaxMax, const aclTensor *prevSoftmaxSum,
    const aclTensor *curAttnOut, const aclTensor *curSoftmaxMax, const aclTensor *curSoftmaxSum,
    const aclTensor *actualSeqQlenOptional, char *inputLayoutOptional, char *inputSoftmaxLayoutOptional,
    const aclTensor *attnOutOut, const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnRingAttentionUpdateV2";
    struct args a = {0};
    HC_TRY(check_layouts(NAME, inputLayoutOptional, inputSoftmaxLayoutOptional, &a));
    const aclTensor *outs[] = {prevAttnOut, curAttnOut, attnOutOut};
    const char *const out_names[] = {"prevAttnOut", "curAttnOut", "attnOutOut"};
    for (int i = 0; i < 3; i++) {
        const aclTensor *t = outs[i];
        HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, out_names[i]);
        HC_CHECK(t->rank == 3 && hc_fits_f32(t->dtype) && t->dtype == prevAttnOut->dtype &&
                     hc_same_shape(t, prevAttnOut),
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, prevAttnOut %s, wanted three dimensions of float32, float16 or bfloat16",
                 NAME, out_names[i], HC_SHOW(t), HC_SHOW(prevAttnOut));
    }
    const aclTensor *softmax[] = {prevSoftmaxMax, prevSoftmaxSum, curSoftmaxMax,
                                  curSoftmaxSum,  softmaxMaxOut,  softmaxSumOut};
    const char *const names[] = {"prevSoftmaxMax", "prevSoftmaxSum", "curSoftmaxMax",
                                 "curSoftmaxSum",  "softmaxMaxOut",  "softmaxSumOut"};
    for (size_t i = 0; i < HC_ARRAY_SIZE(softmax); i++)
        HC_TRY(check_softmax(NAME, names[i], softmax[i], prevSoftmaxMax, prevAttnOut, a.packed));
    a.heads = prevSoftmaxMax->shape[1];
    a.tokens = a.packed ? prevAttnOut->shape[0] : prevAttnOut->shape[0] * prevAttnOut->shape[1];
    const int64_t hidden = prevAttnOut->shape[2];
    HC_CHECK(a.packed || (a.heads > 0 && hidden % a.heads == 0), ACLNN_ERR_PARAM_INVALID,
             "%s: prevAttnOut is %s, prevSoftmaxMax %s: the heads do not divide H", NAME,
             HC_SHOW(prevAttnOut), HC_SHOW(prevSoftmaxMax));
    a.width = a.packed ? hidden : hidden / a.heads;
    HC_CHECK(!a.by_sequence || (actualSeqQlenOptional != NULL &&
                                hc_dtype_class(actualSeqQlenOptional->dtype) == HC_CLASS_INT),
             ACLNN_ERR_PARAM_INVALID, "%s: actualSeqQlenOptional is %s, wanted the ends of the sequences",
             NAME, actualSeqQlenOptional != NULL ? HC_SHOW(actualSeqQlenOptional) : "null");
    return HC_PLAN(NAME, run, &a, HC_IN(prevAttnOut), HC_IN(prevSoftmaxMax), HC_IN(prevSoftmaxSum),
                   HC_IN(curAttnOut), HC_IN(curSoftmaxMax), HC_IN(curSoftmaxSum),
                   HC_IN_OPT(actualSeqQlenOptional), HC_OUT(attnOutOut), HC_OUT(softmaxMaxOut),
                   HC_OUT(softmaxSumOut));
}
HC_OP_LAUNCH(aclnnRingAttentionUpdateV2)
#endif
