// SPDX-License-Identifier: Apache-2.0
/* Scaled dot product attention with everything the interface can ask for, described once for forward and
 * backward.
 *
 *     P = dropout(softmax(mask(scale * (q k^T + pse)))),  out = P v
 *
 * All layouts become strides over batch, head, sequence and element; packed sequences (TND) become batches of
 * their own lengths. */
#pragma once
#include "op.h"

/* What the operators of the family pass, in one place; members that an operator lacks are NULL or 0. */
struct attn_inputs {
    const char *name;
    const aclTensor *query, *key, *value, *pse, *drop_mask, *padding_mask, *atten_mask, *sink;
    const aclIntArray *prefix, *q_lengths, *kv_lengths, *q_start, *kv_start;
    double scale, keep_prob;
    int64_t pre_tokens, next_tokens, head_num, sparse_mode;
    int64_t pse_type; /* 0: scale first, then add pse; 1: add, then scale; 2, 3: pse is made of slopes */
    const char *layout, *softmax_layout;
    const aclTensor *softmax_max, *softmax_sum, *attention_out;
    /* inference only: parts of query and key that are rotated, kept apart; pages of each batch's keys */
    const aclTensor *query_rope, *key_rope, *block_table, *lse;
    /* a tensor for each batch, of which key and value are the first; what all batches have before their own
     * keys; numbers of quantised keys and values; positions behind the last one of sequences that are filled
     * up on the left */
    const aclTensorList *keys, *values;
    const aclTensor *key_prefix, *value_prefix, *key_scale, *key_offset, *value_scale, *value_offset;
    const aclTensor *q_padding, *kv_padding;
    /* of quantised queries and outputs (attention_quant.h) */
    const aclTensor *score_scale, *weight_scale, *sum_scale, *out_scale, *out_offset, *q_scale;
    /* dropout without a mask: that of aclnnDropoutGenMaskV2 for this seed and offset */
    bool seeded;
    int64_t seed, offset;
    /* block-sparse attention: lengths are each for itself and not added up, and what is kept of the softmax
     * is lse alone. block_mask says which blocks of so many queries and keys are seen; NULL: all of them. */
    bool blockwise;
    const aclTensor *block_mask;
    size_t block_queries, block_keys;
    /* backward only */
    bool backward;
    const aclTensor *dy, *dq, *dk, *dv, *dpse, *dsink;
};

/* Which keys a query sees, by the interface's numbers. "Left up" and "right down" say which corner the
 * diagonal of a causal mask starts from when queries and keys differ in number; the last two give one
 * batch of a packed sequence a band and the others a causal mask. */
enum attn_sparse {
    SPARSE_DEFAULT,
    SPARSE_ALL,
    SPARSE_LEFT_UP,
    SPARSE_RIGHT_DOWN,
    SPARSE_BAND,
    SPARSE_PREFIX,
    SPARSE_PREFIX_COMPRESSED,
    SPARSE_RIGHT_DOWN_BAND,
    SPARSE_LEFT_UP_BAND
};

/* Operands of the plan, in the order of the interface's arguments. */
enum attn_slot {
    SLOT_Q,
    SLOT_K,
    SLOT_V,
    SLOT_DY,
    SLOT_PSE,
    SLOT_DROP,
    SLOT_MASK,
    SLOT_MAX,
    SLOT_SUM,
    SLOT_OUT,
    SLOT_SINK,
    SLOT_DQ,
    SLOT_DK,
    SLOT_DV,
    SLOT_DPSE,
    SLOT_DSINK,
    SLOT_Q_ROPE,
    SLOT_K_ROPE,
    SLOT_TABLE,
    SLOT_LSE,
    SLOT_K_EACH,
    SLOT_V_EACH,
    SLOT_K_PREFIX,
    SLOT_V_PREFIX,
    SLOT_K_SCALE,
    SLOT_K_OFFSET,
    SLOT_V_SCALE,
    SLOT_V_OFFSET,
    SLOT_Q_PAD,
    SLOT_KV_PAD,
    SLOT_SCORE_SCALE,
    SLOT_WEIGHT_SCALE,
    SLOT_SUM_SCALE,
    SLOT_OUT_SCALE,
    SLOT_OUT_OFFSET,
    SLOT_Q_SCALE,
    SLOT_BLOCKS,
    SLOT_COUNT
};

/* B batch, S sequence, N heads, D head size, H = N * D, T all tokens of a packed sequence. The last three are
 * inference's only; training takes those before them. NSD is one batch. */
enum attn_layout {
    LAYOUT_BSH,
    LAYOUT_SBH,
    LAYOUT_BNSD,
    LAYOUT_BSND,
    LAYOUT_TND,
    LAYOUT_NTD,
    LAYOUT_NBSD,
    LAYOUT_NSD,
    ATTN_LAYOUTS
};
extern const char *const ATTN_LAYOUT_NAMES[ATTN_LAYOUTS];

/* Which dimension holds batches, heads, positions and elements; -1: none. H holds heads and their elements,
 * so it has no axis for heads; packed sequences have none for batches. */
struct attn_axes {
    int b, n, s, d;
};
struct attn_axes attn_axes(enum attn_layout layout);
/* A dimension that the layout does not have counts 1. */
static inline size_t attn_extent(const aclTensor *t, int axis) {
    return axis < 0 ? 1 : (size_t)t->shape[axis];
}
static inline bool attn_is_packed(enum attn_layout layout) {
    return layout == LAYOUT_TND || layout == LAYOUT_NTD;
}

/* How the scales and offsets of quantised keys or values lie: the first of them, and steps from batch to
 * batch, head to head, row to row, element to element; 0 where one number is for all. */
struct attn_scales {
    bool given;
    bool by_page; /* pages and their rows in place of batches and theirs */
    size_t first, b, n, s, d;
};

/* The plan's arguments: plain values, copied. */
struct attn_args {
    const char *name;
    enum attn_layout layout, kv_layout, out_layout;
    size_t batches, heads, kv_heads, d, dv;
    size_t d_rope;    /* of d, the last elements, which query and key have apart */
    size_t page_size; /* of keys that lie in pages; 0: they do not. A page is to kv_layout what a batch is. */
    size_t prefix;    /* keys that all batches have before their own, counted in skv */
    struct attn_scales key_scales, value_scales;
    bool out_each; /* the output's scale is one for each element of the heads, not one for all */
    bool ragged;   /* batches of a padded layout have lengths of their own */
    size_t block_queries, block_keys; /* of a block that is seen or hidden as a whole; 0: there are none */
    size_t sq, skv;                   /* of each batch; the longest for TND */
    double scale, keep_prob;
    uint64_t seed, offset; /* of a dropout mask that is not given */
    int64_t pre, next, q_start, kv_start;
    int sparse_mode, pse_type;
    bool masked;            /* an attention mask was given: only then do the sparse modes count */
    bool softmax_per_token; /* TND: statistics are [T, N, 8], not [N, s, 8] batch after batch */
    size_t num_prefix;
    /* Packed: lengths added up, queries then keys, `batches` each, but for keys in pages, and where ragged,
     * each for itself; then prefixes. */
    int64_t numbers[];
};

/* An operand that is refused by name when it is given; `kinds`: what is not supported. */
aclnnStatus attn_check_absent(const char *name, const aclTensor *tensor, const char *what, const char *kinds);
#define ATTN_ABSENT(name, tensor)                                                                            \
    HC_TRY(attn_check_absent((name), (tensor), #tensor, "separate rotary and quantised operands"))
/* Initialisers of the members that all versions of an operator have, from the names that the interface gives
 * its arguments; what a version adds follows them. */
#define ATTN_FORWARD(op)                                                                                     \
    .name = (op), .query = query, .key = key, .value = value, .pse = realShiftOptional,                      \
    .drop_mask = dropMaskOptional, .padding_mask = paddingMaskOptional, .atten_mask = attenMaskOptional,     \
    .prefix = prefixOptional, .scale = scaleValue, .keep_prob = keepProb, .pre_tokens = preTokens,           \
    .next_tokens = nextTokens, .head_num = headNum, .layout = inputLayout, .sparse_mode = sparseMode,        \
    .softmax_max = softmaxMaxOut, .softmax_sum = softmaxSumOut, .attention_out = attentionOutOut

#define ATTN_BACKWARD(op)                                                                                    \
    .name = (op), .query = query, .key = keyIn, .value = value, .pse = pseShiftOptional,                     \
    .drop_mask = dropMaskOptional, .padding_mask = paddingMaskOptional, .atten_mask = attenMaskOptional,     \
    .prefix = prefixOptional, .scale = scaleValue, .keep_prob = keepProb, .pre_tokens = preTokens,           \
    .next_tokens = nextTokens, .head_num = headNum, .layout = inputLayout, .sparse_mode = sparseMode,        \
    .softmax_max = softmaxMaxOptional, .softmax_sum = softmaxSumOptional,                                    \
    .attention_out = attentionInOptional, .dy = dy, .dq = dqOut, .dk = dkOut, .dv = dvOut, .dpse = dpseOut,  \
    .backward = true
/* Phase one of every operator of the family: check, work out sizes, plan. The other two are its run
 * functions. */
aclnnStatus attn_plan(const struct attn_inputs *in, uint64_t *workspaceSize, aclOpExecutor **executor);
/* The end of a phase one: what was checked becomes a plan. `bytes`: of `a` and its numbers. */
aclnnStatus attn_make_plan(const struct attn_inputs *in, const struct attn_args *a, size_t bytes,
                           uint64_t *workspaceSize, aclOpExecutor **executor);
aclnnStatus attn_forward(const struct hc_call *call);
aclnnStatus attn_backward(const struct hc_call *call);
