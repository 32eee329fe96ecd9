// SPDX-License-Identifier: Apache-2.0
/* Attention of inference: no gradient, hence no statistics; keys and values of every batch may be longer than
 * its queries and lie in pages. What the operators of this kind pass, for one check and plan. */
#pragma once
#include "attention.h"

struct attn_infer {
    struct attn_inputs in; /* key and value are set by the plan where there are lists of them */
    const aclTensorList *keys, *values;
    int64_t kv_heads; /* 0: as many as of queries */
    int64_t page_size;
    bool wants_lse;
    int64_t key_mode, value_mode; /* enum attn_quant_mode, of the scales in `in` */
    /* The same of keys, then values, in one tensor; instead of those. */
    const aclTensor *scale, *offset;
    int64_t mode;
    const aclIntArray *prefix_length;
    int64_t query_mode; /* of q_scale */
};

/* What each number of a quantised cache is for, by the interface's numbers. The last two lie in the pages of
 * the cache. */
enum attn_quant_mode {
    QUANT_CHANNEL,          /* [heads * size], or one number for all */
    QUANT_TOKEN,            /* [B, rows] */
    QUANT_HEAD,             /* [heads] */
    QUANT_TOKEN_HEAD,       /* [B, heads, rows] */
    QUANT_PAGED_TOKEN,      /* [pages, rows of a page] */
    QUANT_PAGED_TOKEN_HEAD, /* [pages, heads, rows of a page] */
    QUANT_MODES
};

/* Phase one. The layout is that of the query, with that of the output behind "_" where it is another. */
aclnnStatus attn_infer_plan(struct attn_infer *x, uint64_t *workspaceSize, aclOpExecutor **executor);

/* Its parts in attention_infer_stored.c. A list of one is for all batches, one of several a tensor for each;
 * in->key and in->value become the first, and may stay NULL. */
aclnnStatus attn_infer_lists(struct attn_infer *x);
/* int8, int4, or a float of a byte: what a cache with scales holds. */
bool attn_is_quantised(aclDataType dtype);
/* After the sizes are known: tensors of the other batches, the prefix, the padding, the scales. */
aclnnStatus attn_infer_each(const struct attn_infer *x, struct attn_args *a);
aclnnStatus attn_infer_prefix(const struct attn_infer *x, struct attn_args *a);
aclnnStatus attn_infer_padding(struct attn_infer *x, const struct attn_args *a);
aclnnStatus attn_infer_scales(struct attn_infer *x, struct attn_args *a);
/* Elements of the heads of t along its last dimension: int4 are eight in an int32. */
size_t attn_infer_elements(const aclTensor *t, int axis);
/* Elements of a head, which share a dimension with the heads where those have none. */
aclnnStatus attn_infer_head_size(const struct attn_inputs *in, const aclTensor *t, const char *what,
                                 enum attn_layout layout, size_t heads, size_t *size);
/* Queries and outputs that are quantised (attention_infer_quant.c). The first is asked before anything else
 * is known, the second at the end. */
bool attn_infer_takes(const struct attn_inputs *in, aclDataType of_query);
aclnnStatus attn_infer_quant(const struct attn_infer *x, struct attn_args *a);
#define INFER_ABSENT(name, tensor)                                                                           \
    HC_TRY(attn_check_absent((name), (tensor), #tensor, "scales of the rotated parts of keys"))
