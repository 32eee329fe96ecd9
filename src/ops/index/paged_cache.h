// SPDX-License-Identifier: Apache-2.0
/* A paged cache of keys or values: blocks of so many tokens, found through a table or a slot number
 * (block * block size + place in the block). Two layouts, by their names in the interface:
 *
 *   Norm    [blocks, block size, heads, head size]
 *   PA_NZ   [blocks, heads * head size / columns, block size, columns]: a token's elements in runs of
 * `columns`
 *
 * A token outside the cache is [heads, head size]. */
#pragma once
#include <string.h>

#include "op.h"

/* The elements of one token where they lie: rows of `width`, strides in bytes. */
struct paged_token {
    char *at;
    int64_t width, row, column;
};

struct paged_cache {
    const aclTensor *tensor;
    bool in_runs; /* PA_NZ */
};

/* `mode`: null and "" are Norm. */
static inline aclnnStatus paged_mode(const char *name, const char *mode, bool *in_runs) {
    *in_runs = mode != NULL && strcmp(mode, "PA_NZ") == 0;
    HC_CHECK(mode == NULL || *mode == '\0' || *in_runs || strcmp(mode, "Norm") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: cacheMode is \"%s\", wanted Norm or PA_NZ", name, mode);
    return 0;
}

/* Tokens and cache of the same type, elements of a token as many in both. */
static inline aclnnStatus paged_check(const char *name, const char *what, const aclTensor *tokens,
                                      const struct paged_cache *cache) {
    const aclTensor *c = cache->tensor;
    HC_CHECK(tokens->rank == 3 && c->rank == 4 && tokens->dtype == c->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, its cache %s: wanted [tokens, heads, head size] and 4 dimensions of one type",
             name, what, HC_SHOW(tokens), HC_SHOW(c));
    const bool fits = cache->in_runs ? c->shape[1] * c->shape[3] == tokens->shape[1] * tokens->shape[2]
                                     : c->shape[2] == tokens->shape[1] && c->shape[3] == tokens->shape[2];
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, its cache %s (cacheMode %s): a token has other elements there", name, what,
             HC_SHOW(tokens), HC_SHOW(c), cache->in_runs ? "PA_NZ" : "Norm");
    return 0;
}

static inline int64_t paged_block_size(const struct paged_cache *cache) {
    return cache->tensor->shape[cache->in_runs ? 2 : 1];
}

static inline struct paged_token paged_at(const struct paged_cache *cache, int64_t block, int64_t place) {
    const aclTensor *c = cache->tensor;
    const int64_t size = c->item_size, *s = c->stride;
    const int64_t at = block * s[0] + place * s[cache->in_runs ? 2 : 1];
    return (struct paged_token){.at = hc_data(c) + at * size,
                                .width = c->shape[3],
                                .row = s[cache->in_runs ? 1 : 2] * size,
                                .column = s[3] * size};
}

static inline struct paged_token paged_outside(const aclTensor *tokens, int64_t token) {
    const int64_t size = tokens->item_size, *s = tokens->stride;
    return (struct paged_token){.at = hc_data(tokens) + token * s[0] * size,
                                .width = tokens->shape[2],
                                .row = s[1] * size,
                                .column = s[2] * size};
}

/* Elements [first, end) of a token from one place to the other, in runs that are rows on both sides. */
static inline void paged_copy(struct paged_token to, struct paged_token from, int64_t first, int64_t end,
                              size_t item) {
    for (int64_t n, i = first; i < end; i += n) {
        n = hc_min_i64(hc_min_i64(to.width - i % to.width, from.width - i % from.width), end - i);
        char *t = to.at + i / to.width * to.row + i % to.width * to.column;
        const char *f = from.at + i / from.width * from.row + i % from.width * from.column;
        if (to.column == (int64_t)item && from.column == (int64_t)item) {
            memcpy(t, f, (size_t)n * item);
            continue;
        }
        for (int64_t j = 0; j < n; j++) memcpy(t + j * to.column, f + j * from.column, item);
    }
}

static inline void paged_clear(struct paged_token to, int64_t count, size_t item) {
    for (int64_t i = 0; i < count; i++)
        memset(to.at + i / to.width * to.row + i % to.width * to.column, 0, item);
}
