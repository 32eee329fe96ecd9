// SPDX-License-Identifier: Apache-2.0
/* Causal convolution of whole sequences [S, B, H] by W taps for each channel, and its gradients:
 *
 *     y[s] = mask[b, s] * sum over w of weight[w] * x[s - (W - 1) + w],   x before the start is 0
 *
 * A masked place of the output is 0 and passes no gradient; its input still counts. A piece of work is some
 * channels over all tokens, so gradients of weights add up in one order whatever the threads. */
#include "causal_conv.h"

struct args {
    int64_t sequence, batch, channels, taps;
};

/* Of one run; what its direction does not need is NULL. */
struct loop {
    const struct args *a;
    const float *x, *weight, *grad;
    const uint8_t *mask; /* [B, S] or NULL */
    float *y, *grad_x, *grad_weight;
};

/* Channels from `channel` on of token s; NULL outside of the sequence. */
static const float *row_of(const struct loop *l, const float *x, int64_t s, int64_t b, int64_t channel) {
    if (s < 0 || s >= l->a->sequence) return NULL;
    return x + (s * l->a->batch + b) * l->a->channels + channel;
}

/* A gradient's row; NULL where it is masked. */
static const float *grad_of(const struct loop *l, int64_t s, int64_t b, int64_t channel) {
    if (s < l->a->sequence && l->mask != NULL && !l->mask[b * l->a->sequence + s]) return NULL;
    return row_of(l, l->grad, s, b, channel);
}

/* Items are places (s, b) times pieces of channels. */
static void forward(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    const struct args *a = l->a;
    const int64_t pieces = (a->channels + HC_CAUSAL_PIECE - 1) / HC_CAUSAL_PIECE;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
        const int64_t place = i / pieces, s = place / a->batch, b = place % a->batch;
        const int64_t c = i % pieces * HC_CAUSAL_PIECE, n = hc_min_i64(HC_CAUSAL_PIECE, a->channels - c);
        const float *row[HC_CAUSAL_TAPS], *weight[HC_CAUSAL_TAPS];
        const bool masked = l->mask != NULL && !l->mask[b * a->sequence + s];
        for (int64_t k = 0; k < a->taps; k++) {
            row[k] = masked ? NULL : row_of(l, l->x, s - (a->taps - 1) + k, b, c);
            weight[k] = l->weight + k * a->channels + c;
        }
        HC_DISPATCH(causal_conv_row)((size_t)a->taps, (size_t)n, l->y + place * a->channels + c, row, weight,
                                     NULL);
    }
}

/* grad_x[s] = sum over w of weight[w] * grad[s + (W - 1) - w]. */
static void backward_x(const struct loop *l, int64_t s, int64_t b, int64_t c, int64_t n) {
    const struct args *a = l->a;
    const float *row[HC_CAUSAL_TAPS], *weight[HC_CAUSAL_TAPS];
    for (int64_t k = 0; k < a->taps; k++) {
        row[k] = grad_of(l, s + (a->taps - 1) - k, b, c);
        weight[k] = l->weight + k * a->channels + c;
    }
    HC_DISPATCH(causal_conv_row)((size_t)a->taps, (size_t)n, l->grad_x + (s * a->batch + b) * a->channels + c,
                                 row, weight, NULL);
}

/* Items are pieces of channels. Sums of weights' gradients are double over all tokens: their error does not
 * grow with the sequence. */
static void backward(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    const struct args *a = l->a;
    for (size_t i = begin; i < end; i++) {
        const int64_t c = (int64_t)i * HC_CAUSAL_PIECE, n = hc_min_i64(HC_CAUSAL_PIECE, a->channels - c);
        double sum[HC_CAUSAL_TAPS][HC_CAUSAL_PIECE] = {{0}};
        for (int64_t s = 0; s < a->sequence; s++) {
            for (int64_t b = 0; b < a->batch; b++) {
                const float *grad = grad_of(l, s, b, c);
                backward_x(l, s, b, c, n);
                for (int64_t k = 0; k < a->taps && grad != NULL; k++) {
                    const float *x = row_of(l, l->x, s - (a->taps - 1) + k, b, c);
                    if (x != NULL) HC_DISPATCH(causal_conv_add)((size_t)n, sum[k], grad, x);
                }
            }
        }
        for (int64_t k = 0; k < a->taps; k++)
            for (int64_t j = 0; j < n; j++) l->grad_weight[k * a->channels + c + j] = (float)sum[k][j];
    }
}

/* A contiguous copy of the mask, which may have any strides. */
static const uint8_t *read_mask(struct hc_plain *p, const aclTensor *mask) {
    if (mask == NULL) return NULL;
    uint8_t *own = hc_plain_take(p, hc_numel(mask), 1);
    if (own == NULL) return NULL;
    const aclTensor view = hc_tensor_view(ACL_BOOL, mask->shape, mask->rank, own);
    p->status = hc_copy(&view, mask);
    return own;
}

/* Operands x, weight, mask, out. */
/* Pieces are of 64 places and channels at a time, enough to be worth a thread. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {.a = a,
                     .x = hc_plain_in(&p, hc_arg(call, 0)),
                     .weight = hc_plain_in(&p, hc_arg(call, 1)),
                     .mask = read_mask(&p, hc_arg(call, 2)),
                     .y = hc_plain_out(&p, hc_arg(call, 3))};
    const size_t pieces = (size_t)(a->channels + HC_CAUSAL_PIECE - 1) / HC_CAUSAL_PIECE;
    if (p.status == 0) hc_parallel_for((size_t)(a->sequence * a->batch) * pieces, 64, forward, &l);
    return hc_plain_close(&p, 0);
}

/* Operands gradY, x, weight, mask, gradX, gradWeight. */
/* Few pieces where there are few channels: sums over tokens have one order, which threads must not change. */
static aclnnStatus run_backward(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {.a = a,
                     .grad = hc_plain_in(&p, hc_arg(call, 0)),
                     .x = hc_plain_in(&p, hc_arg(call, 1)),
                     .weight = hc_plain_in(&p, hc_arg(call, 2)),
                     .mask = read_mask(&p, hc_arg(call, 3)),
                     .grad_x = hc_plain_out(&p, hc_arg(call, 4)),
                     .grad_weight = hc_plain_out(&p, hc_arg(call, 5))};
    const size_t pieces = (size_t)(a->channels + HC_CAUSAL_PIECE - 1) / HC_CAUSAL_PIECE;
    if (p.status == 0) hc_parallel_for(pieces, 1, backward, &l);
    return hc_plain_close(&p, 0);
}

/* What both directions take. */
static aclnnStatus check(const char *name, const aclTensor *x, const aclTensor *weight, const aclTensor *mask,
                         struct args *a) {
    HC_TRY(HC_PLAIN_CHECK(name, "x", x, -1, -1, -1));
    HC_TRY(HC_PLAIN_CHECK(name, "weight", weight, -1, x->shape[2]));
    *a = (struct args){x->shape[0], x->shape[1], x->shape[2], weight->shape[0]};
    HC_CHECK(a->taps >= 1 && a->taps <= HC_CAUSAL_TAPS, ACLNN_ERR_PARAM_INVALID,
             "%s: weight is %s, wanted 1 to %d taps", name, HC_SHOW(weight), HC_CAUSAL_TAPS);
    HC_CHECK(mask == NULL || (mask->dtype == ACL_BOOL && mask->rank == 2 && mask->shape[0] == a->batch &&
                              mask->shape[1] == a->sequence),
             ACLNN_ERR_PARAM_INVALID, "%s: maskOptional is %s, wanted bool [%lld,%lld]", name, HC_SHOW(mask),
             (long long)a->batch, (long long)a->sequence);
    return 0;
}

/* torch_npu.npu_masked_causal_conv1d(input, weight, mask=None). */
HC_API aclnnStatus aclnnMaskedCausalConv1dGetWorkspaceSize(const aclTensor *x, const aclTensor *weight,
                                                           const aclTensor *maskOptional,
                                                           const aclTensor *out, uint64_t *workspaceSize,
                                                           aclOpExecutor **executor) {
    static const char NAME[] = "aclnnMaskedCausalConv1d";
    struct args args;
    HC_TRY(check(NAME, x, weight, maskOptional, &args));
    HC_TRY(hc_plain_check(NAME, "out", out, x->rank, x->shape));
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_IN(weight), HC_IN_OPT(maskOptional), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMaskedCausalConv1d)

/* Both gradients in one pass over the tokens. */
HC_API aclnnStatus aclnnMaskedCausalConv1dBackwardGetWorkspaceSize(
    const aclTensor *gradY, const aclTensor *x, const aclTensor *weight, const aclTensor *maskOptional,
    const aclTensor *gradXOut, const aclTensor *gradWeightOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char NAME[] = "aclnnMaskedCausalConv1dBackward";
    struct args args;
    HC_TRY(check(NAME, x, weight, maskOptional, &args));
    HC_TRY(hc_plain_check(NAME, "gradY", gradY, x->rank, x->shape));
    HC_TRY(hc_plain_check(NAME, "gradXOut", gradXOut, x->rank, x->shape));
    HC_TRY(hc_plain_check(NAME, "gradWeightOut", gradWeightOut, weight->rank, weight->shape));
    return HC_PLAN(NAME, run_backward, &args, HC_IN(gradY), HC_IN(x), HC_IN(weight), HC_IN_OPT(maskOptional),
                   HC_OUT(gradXOut), HC_OUT(gradWeightOut));
}
HC_OP_LAUNCH(aclnnMaskedCausalConv1dBackward)
