// SPDX-License-Identifier: Apache-2.0
/* What HansEncode has made of floating point becomes the same bits again (hans.h). The stream is the caller's
 * memory: numbers of planes are copied before they are checked and used. */
#include "hans.h"

HC_KERNEL(hans_unpack, (size_t blocks, const uint8_t *packed, const uint8_t *planes, uint8_t *ranks))
HC_KERNEL(hans_join_16, (size_t n, const uint8_t *coded, const uint8_t *low, uint16_t *x))
HC_KERNEL(hans_join_32,
          (size_t n, const uint8_t *coded, const uint16_t *low, const uint8_t *middle, uint32_t *x))

#ifdef HC_ISA
#include <string.h>

/* A bit for each of eight bytes: 1 in the bytes whose bit is set. */
static inline uint64_t spread(uint8_t bits) {
    const uint64_t each = bits * 0x0101010101010101ULL & 0x8040201008040201ULL;
    /* A byte is 0 or a power of two: with 127 more its highest bit says which, and nothing is carried. */
    return (each + 0x7f7f7f7f7f7f7f7fULL) >> 7 & 0x0101010101010101ULL;
}

void HC_FN(hans_unpack)(size_t blocks, const uint8_t *packed, const uint8_t *planes, uint8_t *ranks) {
    for (size_t b = 0; b < blocks; b++, ranks += HC_HANS_BLOCK) {
        uint64_t words[8] = {0};
        for (size_t p = 0; p < planes[b]; p++, packed += 8)
            for (size_t g = 0; g < 8; g++) words[g] |= spread(packed[g]) << p;
        memcpy(ranks, words, sizeof words);
    }
}

void HC_FN(hans_join_16)(size_t n, const uint8_t *coded, const uint8_t *low, uint16_t *x) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t v = (uint32_t)coded[i] << 8 | low[i];
        x[i] = (uint16_t)(v >> 1 | v << 15);
    }
}

void HC_FN(hans_join_32)(size_t n, const uint8_t *coded, const uint16_t *low, const uint8_t *middle,
                         uint32_t *x) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t v = (uint32_t)coded[i] << 24 | (uint32_t)middle[i] << 16 | low[i];
        x[i] = v >> 1 | v << 31;
    }
}

#else
#include "temporary.h"

enum slot { MANTISSA, FIXED, VAR, PDF, OUT };

struct args {
    bool reshuff;
};

struct job {
    char *x;
    const char *mantissa;
    size_t numel, item;
    struct hc_hans_stream stream;
    struct hc_hans_table table;
    uint8_t *planes; /* [blocks] */
    size_t *begin;   /* [pieces + 1]: in the stream */
};

static size_t blocks_of(const struct job *j, size_t piece) {
    return hc_min_size(HC_HANS_PIECE, hc_hans_blocks(j->numel) - piece * HC_HANS_PIECE);
}

static void load(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    uint8_t packed[HC_HANS_PIECE * HC_HANS_BLOCK], coded[HC_HANS_PIECE * HC_HANS_BLOCK];
    for (size_t piece = begin; piece < end; piece++) {
        const size_t blocks = blocks_of(j, piece), n = blocks * HC_HANS_BLOCK;
        const size_t at = piece * HC_HANS_PIECE * HC_HANS_BLOCK;
        hc_hans_read(&j->stream, j->begin[piece], packed, j->begin[piece + 1] - j->begin[piece]);
        HC_DISPATCH(hans_unpack)(blocks, packed, j->planes + piece * HC_HANS_PIECE, coded);
        for (size_t i = 0; i < n; i++) coded[i] = j->table.value[coded[i]];
        const uint8_t *bytes = (const uint8_t *)j->mantissa;
        if (j->item == 2) HC_DISPATCH(hans_join_16)(n, coded, bytes + at, (uint16_t *)j->x + at);
        else
            HC_DISPATCH(hans_join_32)(n, coded, (const uint16_t *)j->mantissa + at, bytes + 2 * j->numel + at,
                                      (uint32_t *)j->x + at);
    }
}

static aclnnStatus check_meta(const char *name, const struct job *j, const struct hc_hans_meta *meta) {
    HC_CHECK(meta->magic == HC_HANS_MAGIC, ACLNN_ERR_PARAM_INVALID,
             "%s: fixed does not begin with a stream of aclnnHansEncode", name);
    HC_CHECK(meta->numel == j->numel && meta->item == j->item, ACLNN_ERR_PARAM_INVALID,
             "%s: the stream is of %llu elements of %u bytes, out has %zu of %zu", name,
             (unsigned long long)meta->numel, meta->item, j->numel, j->item);
    HC_CHECK(meta->ranks == hc_hans_hash(&j->table), ACLNN_ERR_PARAM_INVALID,
             "%s: pdf is another one than the stream was made with", name);
    return 0;
}

/* Where pieces begin. */
static aclnnStatus find_pieces(const char *name, struct job *j, const struct hc_hans_meta *meta) {
    const size_t blocks = hc_hans_blocks(j->numel), room = j->stream.fixed_bytes + j->stream.var_bytes;
    HC_CHECK(room >= HC_HANS_META + blocks && meta->bytes <= room, ACLNN_ERR_PARAM_INVALID,
             "%s: fixed and var together have %zu bytes, the stream %llu", name, room,
             (unsigned long long)meta->bytes);
    hc_hans_read(&j->stream, HC_HANS_META, j->planes, blocks);
    size_t at = j->begin[0] = HC_HANS_META + blocks;
    for (size_t b = 0; b < blocks; b++) {
        HC_CHECK(j->planes[b] <= 8, ACLNN_ERR_PARAM_INVALID,
                 "%s: block %zu of the stream has %u planes, wanted 8 or fewer", name, b, j->planes[b]);
        at += j->planes[b] * (size_t)8;
        j->begin[b / HC_HANS_PIECE + 1] = at;
    }
    HC_CHECK(at == meta->bytes, ACLNN_ERR_PARAM_INVALID,
             "%s: blocks of the stream have %zu bytes, wanted %llu", name, at,
             (unsigned long long)meta->bytes);
    return 0;
}

static aclnnStatus decode(const char *name, struct job *j) {
    struct hc_hans_meta meta;
    hc_hans_read(&j->stream, 0, &meta, sizeof meta);
    HC_TRY(check_meta(name, j, &meta));
    HC_TRY(find_pieces(name, j, &meta));
    hc_parallel_for(hc_hans_pieces(j->numel), 1, load, j);
    return 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, OUT);
    aclTensor view;
    void *owned = NULL;
    HC_TRY(hc_contiguous_out(out, out->dtype, &view, &owned));
    struct job j = {.x = hc_data(&view), .numel = hc_numel(out), .item = (size_t)out->item_size};
    j.mantissa = hc_data(hc_arg(call, MANTISSA));
    j.stream = hc_hans_stream(hc_arg(call, FIXED), hc_arg(call, VAR), a->reshuff);
    hc_hans_table((const int32_t *)hc_data(hc_arg(call, PDF)), &j.table);
    j.planes = hc_block_take(hc_hans_blocks(j.numel));
    j.begin = hc_block_take_array(hc_hans_pieces(j.numel) + 1, sizeof *j.begin);
    aclnnStatus status = 0;
    if (j.planes && j.begin) status = decode(call->name, &j);
    else status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu elements", call->name, j.numel);
    if (status == 0 && owned != NULL) status = hc_copy(out, &view);
    hc_block_give(j.planes), hc_block_give(j.begin), hc_block_give(owned);
    return status;
}

HC_API aclnnStatus aclnnHansDecodeGetWorkspaceSize(const aclTensor *mantissa, const aclTensor *fixed,
                                                   const aclTensor *var, const aclTensor *pdf, bool reshuff,
                                                   const aclTensor *out, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    const char *name = "aclnnHansDecode";
    HC_TRY(hc_hans_check(name, "out", out, mantissa, fixed, var, pdf));
    const struct args args = {reshuff};
    return HC_PLAN(name, run, &args, HC_IN(mantissa), HC_IN(fixed), HC_IN(var), HC_IN(pdf), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnHansDecode)
#endif
