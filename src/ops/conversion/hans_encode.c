// SPDX-License-Identifier: Apache-2.0
/* Lossless compression of floating point (hans.h): the bytes with the exponents become a stream that is as
 * short as they are alike, the others are copied. Three passes over pieces: split (and count), rank and
 * measure, store; only after the second is it known where a piece begins. x is read once, its coded bytes
 * three times. */
#include "hans.h"

/* Of n elements the coded bytes, and the low byte of each (16 bits) or the low 16 and next 8 bits (32). */
HC_KERNEL(hans_split_16, (size_t n, const uint16_t *x, uint8_t *coded, uint8_t *low))
HC_KERNEL(hans_split_32, (size_t n, const uint32_t *x, uint8_t *coded, uint16_t *low, uint8_t *middle))
/* Planes of `blocks` blocks of ranks one after the other; `planes` says how many each has. */
HC_KERNEL(hans_pack, (size_t blocks, const uint8_t *ranks, const uint8_t *planes, uint8_t *packed))

#ifdef HC_ISA
#include <string.h>

void HC_FN(hans_split_16)(size_t n, const uint16_t *x, uint8_t *coded, uint8_t *low) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t v = x[i];
        coded[i] = (uint8_t)(v >> 7);
        low[i] = (uint8_t)(v << 1 | v >> 15);
    }
}

void HC_FN(hans_split_32)(size_t n, const uint32_t *x, uint8_t *coded, uint16_t *low, uint8_t *middle) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t v = x[i] << 1 | x[i] >> 31;
        coded[i] = (uint8_t)(v >> 24);
        middle[i] = (uint8_t)(v >> 16);
        low[i] = (uint16_t)v;
    }
}

void HC_FN(hans_pack)(size_t blocks, const uint8_t *ranks, const uint8_t *planes, uint8_t *packed) {
    for (size_t b = 0; b < blocks; b++, ranks += HC_HANS_BLOCK) {
        uint64_t words[8];
        memcpy(words, ranks, sizeof words);
        for (size_t p = 0; p < planes[b]; p++, packed += 8) {
            /* Bit p of eight bytes comes together in the highest one: byte i is multiplied to bit 56 + i, and
             * no two products meet in a bit. */
            for (size_t g = 0; g < 8; g++)
                packed[g] =
                    (uint8_t)(((words[g] >> p & 0x0101010101010101ULL) * 0x0102040810204080ULL) >> 56);
        }
    }
}

#else
#include "temporary.h"

#include <string.h>

enum slot { X, PDF, MANTISSA, FIXED, VAR };

struct args {
    bool statistic, reshuff;
};

struct job {
    const char *x;
    char *mantissa;
    size_t numel, item;
    struct hc_hans_stream stream;
    struct hc_hans_table table;
    uint8_t *coded, *planes;            /* [numel], [blocks] */
    size_t *begin;                      /* [pieces + 1]: in the stream */
    uint32_t (*counts)[HC_HANS_VALUES]; /* [pieces]; NULL: not wanted */
};

static size_t blocks_of(const struct job *j, size_t piece) {
    return hc_min_size(HC_HANS_PIECE, hc_hans_blocks(j->numel) - piece * HC_HANS_PIECE);
}

static void split(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t piece = begin; piece < end; piece++) {
        const size_t n = blocks_of(j, piece) * HC_HANS_BLOCK, at = piece * HC_HANS_PIECE * HC_HANS_BLOCK;
        uint8_t *coded = j->coded + at;
        if (j->item == 2)
            HC_DISPATCH(hans_split_16)(n, (const uint16_t *)j->x + at, coded, (uint8_t *)j->mantissa + at);
        else
            HC_DISPATCH(hans_split_32)(n, (const uint32_t *)j->x + at, coded, (uint16_t *)j->mantissa + at,
                                       (uint8_t *)j->mantissa + 2 * j->numel + at);
        if (j->counts == NULL) continue;
        memset(j->counts[piece], 0, sizeof j->counts[piece]);
        for (size_t i = 0; i < n; i++) j->counts[piece][coded[i]]++;
    }
}

static void measure(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t piece = begin; piece < end; piece++) {
        size_t planes = 0;
        for (size_t b = piece * HC_HANS_PIECE; b < piece * HC_HANS_PIECE + blocks_of(j, piece); b++) {
            uint8_t *ranks = j->coded + b * HC_HANS_BLOCK, all = 0;
            for (size_t i = 0; i < HC_HANS_BLOCK; i++) all |= ranks[i] = j->table.rank[ranks[i]];
            j->planes[b] = all == 0 ? 0 : (uint8_t)(32 - __builtin_clz(all));
            planes += j->planes[b];
        }
        j->begin[piece + 1] = planes * 8;
    }
}

static void store(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    uint8_t packed[HC_HANS_PIECE * HC_HANS_BLOCK];
    for (size_t piece = begin; piece < end; piece++) {
        const size_t first = piece * HC_HANS_PIECE, blocks = blocks_of(j, piece);
        HC_DISPATCH(hans_pack)(blocks, j->coded + first * HC_HANS_BLOCK, j->planes + first, packed);
        hc_hans_write(&j->stream, HC_HANS_META + first, j->planes + first, blocks);
        hc_hans_write(&j->stream, j->begin[piece], packed, j->begin[piece + 1] - j->begin[piece]);
    }
}

/* Counts above int32 stay at its largest: ranks would be those of the true counts but for such ties. */
static void add_up(const struct job *j, int32_t *pdf) {
    for (size_t v = 0; v < HC_HANS_VALUES; v++) {
        uint64_t sum = 0;
        for (size_t piece = 0; piece < hc_hans_pieces(j->numel); piece++) sum += j->counts[piece][v];
        pdf[v] = sum > INT32_MAX ? INT32_MAX : (int32_t)sum;
    }
}

static void encode(struct job *j, int32_t *pdf) {
    const size_t pieces = hc_hans_pieces(j->numel);
    hc_parallel_for(pieces, 1, split, j);
    if (j->counts != NULL) add_up(j, pdf);
    hc_hans_table(pdf, &j->table);
    hc_parallel_for(pieces, 1, measure, j);
    j->begin[0] = HC_HANS_META + hc_hans_blocks(j->numel);
    for (size_t piece = 0; piece < pieces; piece++) j->begin[piece + 1] += j->begin[piece];
    hc_parallel_for(pieces, 1, store, j);
    const struct hc_hans_meta meta = {.magic = HC_HANS_MAGIC,
                                      .numel = j->numel,
                                      .bytes = j->begin[pieces],
                                      .ranks = hc_hans_hash(&j->table),
                                      .item = (uint32_t)j->item};
    hc_hans_write(&j->stream, 0, &meta, sizeof meta);
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, X);
    aclTensor view;
    void *owned = NULL;
    HC_TRY(hc_contiguous(x, x->dtype, &view, &owned));
    struct job j = {.x = hc_data(&view), .numel = hc_numel(x), .item = (size_t)x->item_size};
    j.mantissa = hc_data(hc_arg(call, MANTISSA));
    j.stream = hc_hans_stream(hc_arg(call, FIXED), hc_arg(call, VAR), a->reshuff);
    const size_t pieces = hc_hans_pieces(j.numel);
    j.coded = hc_block_take(j.numel);
    j.planes = hc_block_take(hc_hans_blocks(j.numel));
    j.begin = hc_block_take_array(pieces + 1, sizeof *j.begin);
    if (a->statistic) j.counts = hc_block_take_array(pieces, sizeof *j.counts);
    aclnnStatus status = 0;
    if (j.coded && j.planes && j.begin && (j.counts || !a->statistic))
        encode(&j, (int32_t *)hc_data(hc_arg(call, PDF)));
    else status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu elements", call->name, j.numel);
    hc_block_give(j.coded), hc_block_give(j.planes), hc_block_give(j.begin), hc_block_give(j.counts);
    hc_block_give(owned);
    return status;
}

HC_API aclnnStatus aclnnHansEncodeGetWorkspaceSize(const aclTensor *inputTensor, aclTensor *pdfRef,
                                                   bool statistic, bool reshuff, const aclTensor *mantissaOut,
                                                   const aclTensor *fixedOut, const aclTensor *varOut,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    const char *name = "aclnnHansEncode";
    HC_TRY(hc_hans_check(name, "inputTensor", inputTensor, mantissaOut, fixedOut, varOut, pdfRef));
    const size_t item = (size_t)inputTensor->item_size, bound = hc_hans_bound(hc_numel(inputTensor));
    const size_t room = (hc_numel(fixedOut) + (reshuff ? 0 : hc_numel(varOut))) * item;
    HC_CHECK(room >= bound, ACLNN_ERR_PARAM_INVALID,
             "%s: %s %zu bytes, wanted %zu for %lld elements that cannot be compressed", name,
             reshuff ? "with reshuff fixed is all there is and has" : "fixed and var together have", room,
             bound, (long long)inputTensor->numel);
    const struct args args = {statistic, reshuff};
    return HC_PLAN(name, run, &args, HC_IN(inputTensor), HC_INOUT(pdfRef), HC_OUT(mantissaOut),
                   HC_OUT(fixedOut), HC_OUT(varOut));
}
HC_OP_LAUNCH(aclnnHansEncode)
#endif
