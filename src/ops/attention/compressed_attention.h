// SPDX-License-Identifier: Apache-2.0
/* Attention over compressed keys and the choice of blocks that follows from it: the first branch of native
 * sparse attention (arXiv 2502.11089), as training and inference plan it (compressed_attention.c). */
#pragma once
#include "sparse_tokens.h"

/* Sizes of blocks in steps of the compression: a selected block has `steps` of them, a compressed key covers
 * `overlap` steps. */
struct compressed_args {
    enum hc_tokens_layout key; /* TND or paged; queries are TND */
    int64_t sequences, steps, overlap, count;
    bool forced; /* the first and the last two blocks are always chosen */
    double scale;
    int64_t lengths[]; /* ends of queries, ends (paged: lengths) of keys, and how many blocks there are */
};

/* Operands; what is not there is null. Indices are [T, N2, count], statistics [N, S, 8] for each sequence in
 * turn. */
enum {
    COMPRESSED_QUERY,
    COMPRESSED_KEY,
    COMPRESSED_VALUE,
    COMPRESSED_TABLE,
    COMPRESSED_MASK,
    COMPRESSED_CHOSEN,
    COMPRESSED_OUT,
    COMPRESSED_INDICES,
    COMPRESSED_MAX,
    COMPRESSED_SUM,
    COMPRESSED_OPERANDS
};

/* The sizes of blocks, which the interface gives in tokens. */
struct compressed_blocks {
    int64_t compress, stride, select, count;
};
aclnnStatus compressed_set_blocks(const char *op, const struct compressed_blocks *blocks,
                                  struct compressed_args *a);
/* Queries, keys and values of so many heads, or any (-1): [T, N, D], [.., N2, D], [.., N2, DV] with
 * dimensions before as the layout has them. */
aclnnStatus compressed_check_operands(const char *op, const aclTensor *query, const aclTensor *key,
                                      const aclTensor *value, enum hc_tokens_layout layout);
/* The end of phase one: lengths are three arrays of as many numbers as there are sequences. */
aclnnStatus compressed_plan(const char *op, const struct compressed_args *given,
                            const int64_t *const lengths[3], const struct hc_operand *operands,
                            uint64_t *workspaceSize, aclOpExecutor **executor);
