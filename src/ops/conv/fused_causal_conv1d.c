// SPDX-License-Identifier: Apache-2.0
/* Causal convolution of the new tokens of many sequences, each behind the tokens that its line of a cache
 * keeps; the line then keeps the last tokens.
 *
 *     padded = what the line holds of the sequence, then x        (zeros where nothing was computed yet)
 *     y[t]   = sum over w of weight[w] * padded[offset + t + w],  + x[t] with a residual connection
 *     line   = the end of padded
 *
 * offset is where the window of the first token begins: behind the accepted tokens of a speculation, or at
 * the end of the line. With prefix caching (blockIdx*) a sequence has a line for each of its blocks, and the
 * state at the end of every block that these tokens fill is kept, too. convMode 1 zeroes outputs whose window
 * reaches before the sequence's start.
 *
 * A piece of work is some channels of all sequences in their order, so lines that sequences share are written
 * and read in that order. Tokens are computed from the last to the first: y may be x. */
#include <string.h>

#include "causal_conv.h"

/* Optional tensors of integers, in the order of the plan after x, weight, convStates, y. */
enum { STARTS, LINES, ACCEPTED, COMPUTED, FIRST, LAST, INITIAL, NUMBERS };

struct args {
    int64_t tokens, channels, taps, state, sequences, sequence, pad, block, lines_of_each;
    bool residual, zero_start, blocks, in_place;
};

/* What numbers say of one sequence, read once before any piece is worked on: x[begin, end), windows from
 * `offset` of its line on. */
struct sequence {
    int64_t begin, end, read, write, offset, zeroed;
    int64_t fills, fill_at, fill_line; /* blocks that are filled, where the first ends, its place in LINES */
    bool fresh, skipped;
};

/* One run: what every piece reads. */
struct loop {
    const struct args *a;
    const float *x, *weight;
    float *y;
    const aclTensor *states;
    const int64_t *lines;
    const struct sequence *sequence;
};

/* Lines may lie in memory in any way; rows of a piece go through the converters, which know strides. */
static char *state_at(const struct loop *l, int64_t line, int64_t row, int64_t channel) {
    const int64_t *s = l->states->stride;
    return hc_data(l->states) + (line * s[0] + row * s[1] + channel * s[2]) * l->states->item_size;
}

/* A row of the line as float; zeros before the sequence has one. */
static void load_state(const struct loop *l, const struct sequence *q, int64_t row, int64_t c, int64_t n,
                       float *to) {
    if (q->fresh) memset(to, 0, (size_t)n * sizeof *to);
    else
        hc_load_for(l->states->dtype, HC_F32)((size_t)n, to, state_at(l, q->read, row, c),
                                              l->states->stride[2]);
}

/* Rounded to the cache's type, which is exact for what came from it or from x of that type. */
static void store_state(const struct loop *l, int64_t line, int64_t row, int64_t c, int64_t n,
                        const float *from) {
    hc_store_for(l->states->dtype, HC_F32)((size_t)n, state_at(l, line, row, c), l->states->stride[2], from);
}

/* Row i of padded, which begins with `kept` rows of the line, into the line's row `to`. */
static void keep_row(const struct loop *l, const struct sequence *q, int64_t kept, int64_t i, int64_t to,
                     int64_t c, int64_t n) {
    float row[HC_CAUSAL_PIECE];
    if (i >= kept) {
        store_state(l, q->write, to, c, n, l->x + (q->begin + i - kept) * l->a->channels + c);
        return;
    }
    load_state(l, q, i, c, n, row);
    store_state(l, q->write, to, c, n, row);
}

/* The end of padded into the line. The line may be the one that is read: rows move towards its front, or,
 * where padded is shorter than the line, towards its end, and are copied in the order that reads each first.
 */
static void keep_end(const struct loop *l, const struct sequence *q, int64_t c, int64_t n) {
    const struct args *a = l->a;
    const int64_t kept = q->offset + a->taps - 1, length = kept + q->end - q->begin;
    const int64_t rows = hc_min_i64(a->state, length), from = length - rows, to = a->state - rows;
    if (to > from)
        for (int64_t i = rows - 1; i >= 0; i--) keep_row(l, q, kept, from + i, to + i, c, n);
    else
        for (int64_t i = 0; i < rows; i++) keep_row(l, q, kept, from + i, to + i, c, n);
}

/* Windows of a piece: taps - 1 rows of the line in `head`, then x. */
static const float *window_row(const struct loop *l, const struct sequence *q, const float *head, int64_t i,
                               int64_t c) {
    const int64_t kept = l->a->taps - 1;
    return i < kept ? head + i * HC_CAUSAL_PIECE : l->x + (q->begin + i - kept) * l->a->channels + c;
}

/* The state at the end of each block that is filled: the rows that its next token's window begins with. */
static void keep_blocks(const struct loop *l, const struct sequence *q, const float *head, int64_t c,
                        int64_t n) {
    const struct args *a = l->a;
    for (int64_t f = 0; f < q->fills; f++)
        for (int64_t k = 0; k < a->taps - 1; k++)
            store_state(l, l->lines[q->fill_line + f], a->state - (a->taps - 1) + k, c, n,
                        window_row(l, q, head, q->fill_at + f * a->block + k, c));
}

/* A row that is NULL counts as zero: so are outputs whose window reaches too far back. */
static void convolve(const struct loop *l, const struct sequence *q, const float *head, int64_t c,
                     int64_t n) {
    const struct args *a = l->a;
    const float *row[HC_CAUSAL_TAPS], *weight[HC_CAUSAL_TAPS];
    for (int64_t k = 0; k < a->taps; k++) weight[k] = l->weight + k * a->channels + c;
    for (int64_t t = q->end - q->begin - 1; t >= 0; t--) {
        const int64_t at = (q->begin + t) * a->channels + c;
        for (int64_t k = 0; k < a->taps; k++)
            row[k] = t < q->zeroed ? NULL : window_row(l, q, head, t + k, c);
        HC_DISPATCH(causal_conv_row)((size_t)a->taps, (size_t)n, l->y + at, row, weight,
                                     a->residual ? l->x + at : NULL);
    }
}

/* Outputs of a sequence that is padding: zero, or where y is x, x. */
static void skip(const struct loop *l, const struct sequence *q, int64_t c, int64_t n) {
    for (int64_t t = q->begin; t < q->end && l->x != l->y; t++)
        memset(l->y + t * l->a->channels + c, 0, (size_t)n * sizeof *l->y);
}

/* Items are pieces of channels. The windows' first rows are read before the line is written. */
static void run_pieces(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    const struct args *a = l->a;
    float head[(HC_CAUSAL_TAPS - 1) * HC_CAUSAL_PIECE];
    for (size_t i = begin; i < end; i++) {
        const int64_t c = (int64_t)i * HC_CAUSAL_PIECE, n = hc_min_i64(HC_CAUSAL_PIECE, a->channels - c);
        for (int64_t s = 0; s < a->sequences; s++) {
            const struct sequence *q = &l->sequence[s];
            if (q->skipped) {
                skip(l, q, c, n);
                continue;
            }
            for (int64_t k = 0; k < a->taps - 1; k++)
                load_state(l, q, q->offset + k, c, n, head + k * HC_CAUSAL_PIECE);
            keep_end(l, q, c, n);
            keep_blocks(l, q, head, c, n);
            convolve(l, q, head, c, n);
        }
    }
}

/* Which line sequence s reads and writes, and which blocks it fills. */
static aclnnStatus find_lines(const char *op, const struct args *a, const int64_t *const *number, int64_t s,
                              struct sequence *q) {
    q->read = q->write = number[LINES] != NULL && !a->blocks ? number[LINES][s] : s;
    if (!a->blocks) return 0;
    const int64_t *lines = number[LINES] + s * a->lines_of_each, length = q->end - q->begin;
    const int64_t first = number[FIRST][s], last = number[LAST][s],
                  ahead = a->block - number[COMPUTED][s] % a->block;
    const int64_t behind = ((length - ahead) % a->block + a->block) % a->block;
    q->read = lines[number[INITIAL][s]], q->write = lines[last];
    q->fills = last - first, q->fill_line = s * a->lines_of_each + first;
    q->fill_at = length - behind - (behind == 0 ? a->block : 0) - (q->fills - 1) * a->block;
    HC_CHECK(
        q->fills <= 0 || (q->fill_at > 0 && q->fill_at + (q->fills - 1) * a->block <= length),
        ACLNN_ERR_PARAM_INVALID,
        "%s: blockIdxFirstScheduledToken is %lld, blockIdxLastScheduledToken %lld for sequence %lld of %lld "
        "tokens in blocks of %lld: it does not fill those blocks",
        op, (long long)first, (long long)last, (long long)s, (long long)length, (long long)a->block);
    return 0;
}

/* Everything about sequence s that numbers say. */
static aclnnStatus read_sequence(const char *op, const struct args *a, const aclTensor *states,
                                 const int64_t *const *number, int64_t s, struct sequence *q) {
    *q = (struct sequence){.begin = s * a->sequence, .end = (s + 1) * a->sequence};
    if (number[STARTS] != NULL) q->begin = number[STARTS][s], q->end = number[STARTS][s + 1];
    HC_CHECK(q->begin <= q->end, ACLNN_ERR_PARAM_INVALID, "%s: queryStartLoc falls from %lld to %lld at %lld",
             op, (long long)q->begin, (long long)q->end, (long long)s);
    HC_TRY(find_lines(op, a, number, s, q));
    const int64_t length = q->end - q->begin, taps = a->taps - 1;
    q->skipped = q->read == a->pad || length == 0;
    if (q->skipped) return 0;
    HC_CHECK(q->read >= 0 && q->read < states->shape[0] && q->write >= 0 && q->write < states->shape[0],
             ACLNN_ERR_PARAM_INVALID, "%s: cacheIndices has %lld or %lld for sequence %lld, wanted 0 to %lld",
             op, (long long)q->read, (long long)q->write, (long long)s, (long long)states->shape[0] - 1);
    q->fresh = number[COMPUTED] != NULL && number[COMPUTED][s] == 0;
    if (a->zero_start) q->zeroed = hc_min_i64(hc_max_i64(taps - number[COMPUTED][s], 0), length);
    if (q->fresh) return 0;
    q->offset = number[ACCEPTED] != NULL ? number[ACCEPTED][s] - 1 : a->state - taps;
    HC_CHECK(q->offset + taps <= a->state, ACLNN_ERR_PARAM_INVALID,
             "%s: numAcceptedTokens has %lld for sequence %lld, wanted 1 to %lld", op,
             (long long)q->offset + 1, (long long)s, (long long)(a->state - taps + 1));
    return 0;
}

/* Lines are checked where they are used: those of padding may be any number. */
static void read_numbers(const struct hc_call *call, struct hc_plain *p, const int64_t **number) {
    const struct args *a = call->args;
    static const char *const NAMES[NUMBERS] = {"queryStartLoc",
                                               "cacheIndices",
                                               "numAcceptedTokens",
                                               "numComputedTokens",
                                               "blockIdxFirstScheduledToken",
                                               "blockIdxLastScheduledToken",
                                               "initialStateIdx"};
    const int64_t lowest[NUMBERS] = {0, INT64_MIN, 1, 0, 0, 0, 0};
    const int64_t each = a->lines_of_each;
    const int64_t bound[NUMBERS] = {a->tokens + 1, INT64_MAX, a->state + 2, INT64_MAX, each, each, each};
    for (int i = 0; i < NUMBERS; i++)
        number[i] = hc_plain_index(p, NAMES[i], hc_arg(call, 4 + i), lowest[i], bound[i]);
}

/* Filled blocks go to lines that exist. */
static aclnnStatus check_fills(const char *op, const struct loop *l) {
    for (int64_t s = 0; s < l->a->sequences; s++) {
        const struct sequence *q = &l->sequence[s];
        for (int64_t f = 0; f < q->fills && !q->skipped; f++) {
            const int64_t line = l->lines[q->fill_line + f];
            HC_CHECK(line >= 0 && line < l->states->shape[0], ACLNN_ERR_PARAM_INVALID,
                     "%s: cacheIndices has %lld for a block of sequence %lld, wanted 0 to %lld", op,
                     (long long)line, (long long)s, (long long)l->states->shape[0] - 1);
        }
    }
    return 0;
}

/* Sequences are read and checked as a whole before any piece begins: a call that fails has written nothing.
 */
static aclnnStatus compute(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const int64_t *number[NUMBERS];
    struct sequence *sequence = hc_plain_take(p, (size_t)a->sequences, sizeof *sequence);
    struct loop l = {.a = a, .states = hc_arg(call, 2), .sequence = sequence};
    read_numbers(call, p, number);
    l.lines = number[LINES];
    l.weight = hc_plain_in(p, hc_arg(call, 1));
    if (a->in_place) l.x = l.y = hc_plain_inout(p, hc_arg(call, 3));
    else l.x = hc_plain_in(p, hc_arg(call, 0)), l.y = hc_plain_out(p, hc_arg(call, 3));
    if (p->status != 0) return p->status;
    for (int64_t s = 0; s < a->sequences; s++)
        HC_TRY(read_sequence(call->name, a, l.states, number, s, &sequence[s]));
    HC_TRY(check_fills(call->name, &l));
    hc_parallel_for((size_t)(a->channels + HC_CAUSAL_PIECE - 1) / HC_CAUSAL_PIECE, 1, run_pieces, &l);
    return 0;
}

static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    return hc_plain_close(&p, compute(call, &p));
}

/* The arguments of both operators; in place y is x. */
struct inputs {
    const char *name;
    const aclTensor *x, *weight;
    aclTensor *states, *y;
    const aclTensor *number[NUMBERS], *bias;
    int64_t activation, pad, residual, block, mode;
};

/* Shapes of the optional numbers, and which need which. */
static aclnnStatus check_numbers(const struct inputs *in, struct args *a) {
    const aclTensor *const *n = in->number;
    const char *name = in->name;
    a->blocks = n[LAST] != NULL;
    if (n[ACCEPTED] != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "numAcceptedTokens", n[ACCEPTED], a->sequences));
    if (n[COMPUTED] != NULL || a->blocks || a->zero_start)
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "numComputedTokens", n[COMPUTED], a->sequences));
    if (!a->blocks) {
        if (n[LINES] != NULL) HC_TRY(HC_PLAIN_CHECK_INDEX(name, "cacheIndices", n[LINES], a->sequences));
        return 0;
    }
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "cacheIndices", n[LINES], a->sequences, -1));
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "blockIdxFirstScheduledToken", n[FIRST], a->sequences));
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "blockIdxLastScheduledToken", n[LAST], a->sequences));
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "initialStateIdx", n[INITIAL], a->sequences));
    a->lines_of_each = n[LINES]->shape[1];
    HC_CHECK(a->block > 0, ACLNN_ERR_PARAM_INVALID, "%s: blockSize is %lld, wanted more than 0", name,
             (long long)a->block);
    return 0;
}

/* x is [tokens, channels] with queryStartLoc, or [sequences, tokens of each, channels]. */
static aclnnStatus check_x(const struct inputs *in, struct args *a) {
    const aclTensor *x = in->x, *starts = in->number[STARTS];
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", in->name);
    HC_CHECK((x->rank == 2 || x->rank == 3) && hc_fits_f32(x->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted 2 or 3 dimensions of float32, bfloat16 or float16", in->name, HC_SHOW(x));
    HC_CHECK(x->rank == 3 || starts != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: queryStartLoc is null, and x %s has no sequences", in->name, HC_SHOW(x));
    a->channels = x->shape[x->rank - 1];
    a->tokens = x->rank == 3 ? x->shape[0] * x->shape[1] : x->shape[0];
    a->sequence = x->rank == 3 ? x->shape[1] : 0;
    a->sequences = x->shape[0];
    if (starts == NULL) return 0;
    HC_TRY(HC_PLAIN_CHECK_INDEX(in->name, "queryStartLoc", starts, -1));
    HC_CHECK(starts->shape[0] > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: queryStartLoc is %s, wanted one more than sequences", in->name, HC_SHOW(starts));
    a->sequences = starts->shape[0] - 1;
    return 0;
}

/* What is checked here is all but the numbers themselves. */
static aclnnStatus plan(const struct inputs *in, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const char *name = in->name;
    struct args a = {.pad = in->pad,
                     .block = in->block,
                     .residual = in->residual == 1,
                     .zero_start = in->mode == 1,
                     .in_place = in->x == in->y};
    HC_TRY(check_x(in, &a));
    HC_TRY(HC_PLAIN_CHECK(name, "weight", in->weight, -1, a.channels));
    a.taps = in->weight->shape[0];
    HC_TRY(HC_PLAIN_CHECK(name, "convStates", in->states, -1, -1, a.channels));
    a.state = in->states->shape[1];
    HC_CHECK(a.taps >= 1 && a.taps <= HC_CAUSAL_TAPS && a.state >= a.taps - 1, ACLNN_ERR_PARAM_INVALID,
             "%s: weight is %s, convStates %s: wanted 1 to %d taps, and lines of one row less at least", name,
             HC_SHOW(in->weight), HC_SHOW(in->states), HC_CAUSAL_TAPS);
    HC_TRY(hc_plain_check(name, "y", in->y, in->x->rank, in->x->shape));
    HC_CHECK(in->residual == 0 || in->residual == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: residualConnection is %lld, wanted 0 or 1", name, (long long)in->residual);
    HC_CHECK(in->mode == 0 || in->mode == 1, ACLNN_ERR_PARAM_INVALID, "%s: convMode is %lld, wanted 0 or 1",
             name, (long long)in->mode);
    /* The interface lists both and gives them no effect: a caller who sets them wants one. */
    HC_CHECK(in->bias == NULL && in->activation == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s, which has no effect in this operator, is given: add it outside", name,
             in->bias != NULL ? "bias" : "activationMode");
    HC_TRY(check_numbers(in, &a));
    const aclTensor *const *n = in->number;
    return HC_PLAN(name, run, &a, HC_IN(in->x), HC_IN(in->weight), HC_INOUT(in->states), HC_OUT(in->y),
                   HC_IN_OPT(n[STARTS]), HC_IN_OPT(n[LINES]), HC_IN_OPT(n[ACCEPTED]), HC_IN_OPT(n[COMPUTED]),
                   HC_IN_OPT(n[FIRST]), HC_IN_OPT(n[LAST]), HC_IN_OPT(n[INITIAL]));
}

/* torch_npu.npu_fused_causal_conv1d. initialStateMode, runMode and maxQueryLen say what an accelerator does,
 * not what it computes. */
HC_API aclnnStatus aclnnFusedCausalConv1dGetWorkspaceSize(
    const aclTensor *x, const aclTensor *weight, aclTensor *convStates, const aclTensor *queryStartLoc,
    const aclTensor *cacheIndices, const aclTensor *initialStateMode, const aclTensor *bias,
    const aclTensor *numAcceptedTokens, const aclTensor *numComputedTokens,
    const aclTensor *blockIdxFirstScheduledToken, const aclTensor *blockIdxLastScheduledToken,
    const aclTensor *initialStateIdx, int64_t activationMode, int64_t padSlotId, int64_t runMode,
    int64_t maxQueryLen, int64_t residualConnection, int64_t blockSize, int64_t convMode, aclTensor *y,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)initialStateMode, (void)runMode, (void)maxQueryLen;
    return plan(
        &(const struct inputs){"aclnnFusedCausalConv1d",
                               x,
                               weight,
                               convStates,
                               y,
                               {queryStartLoc, cacheIndices, numAcceptedTokens, numComputedTokens,
                                blockIdxFirstScheduledToken, blockIdxLastScheduledToken, initialStateIdx},
                               bias,
                               activationMode,
                               padSlotId,
                               residualConnection,
                               blockSize,
                               convMode},
        workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFusedCausalConv1d)

/* torch_npu.npu_fused_causal_conv1d_v2: the output over x. */
HC_API aclnnStatus aclnnInplaceFusedCausalConv1dGetWorkspaceSize(
    aclTensor *x, const aclTensor *weight, aclTensor *convStates, const aclTensor *queryStartLoc,
    const aclTensor *cacheIndices, const aclTensor *initialStateMode, const aclTensor *bias,
    const aclTensor *numAcceptedTokens, const aclTensor *numComputedTokens,
    const aclTensor *blockIdxFirstScheduledToken, const aclTensor *blockIdxLastScheduledToken,
    const aclTensor *initialStateIdx, int64_t activationMode, int64_t padSlotId, int64_t runMode,
    int64_t maxQueryLen, int64_t residualConnection, int64_t blockSize, int64_t convMode,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)initialStateMode, (void)runMode, (void)maxQueryLen;
    return plan(
        &(const struct inputs){"aclnnInplaceFusedCausalConv1d",
                               x,
                               weight,
                               convStates,
                               x,
                               {queryStartLoc, cacheIndices, numAcceptedTokens, numComputedTokens,
                                blockIdxFirstScheduledToken, blockIdxLastScheduledToken, initialStateIdx},
                               bias,
                               activationMode,
                               padSlotId,
                               residualConnection,
                               blockSize,
                               convMode},
        workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceFusedCausalConv1d)
