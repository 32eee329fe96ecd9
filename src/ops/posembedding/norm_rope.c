// SPDX-License-Identifier: Apache-2.0
/* RMS norm and rotary embedding of one head after the other, and their way into a cache. Both are bound by
 * memory: a row is normalised and rotated while it is in the first cache, quantised where it is stored. */
#include "norm_rope.h"

HC_KERNEL(norm_rope, (const struct hc_norm_rope *a, size_t begin, size_t end))
HC_KERNEL(cache_quantise, (const struct hc_cache_rows *c, size_t token, size_t first, size_t n, float *to))

#ifdef HC_ISA
#include "simd_rows.h"

/* Element i of x normalised; without gamma as it is. */
static inline float normal(const float *x, const float *gamma, float rstd, size_t i) {
    return gamma != NULL ? x[i] * rstd * gamma[i] : x[i];
}

/* Both results of a pair are made before the next pair is read; y and x are different memory. */
static void rotate(const struct hc_norm_rope *a, const float *x, const float *gamma, float rstd,
                   int64_t angle, float *y) {
    const float *c = a->cos + angle, *s = a->sin + angle;
    const size_t half = a->rotated / 2;
    const size_t step = a->interleaved ? 2 : 1, other = a->interleaved ? 1 : half;
    for (size_t i = 0; i < half; i++) {
        const float p = normal(x, gamma, rstd, i * step), q = normal(x, gamma, rstd, i * step + other);
        y[i] = p * c[i] - q * s[i];
        y[i + half] = q * c[i + half] + p * s[i + half];
    }
}

/* The mean of squares is in double, the factor a float, as in the norms of their own. What lies in front of
 * the rotated part and behind it is only normalised. */
void HC_FN(norm_rope)(const struct hc_norm_rope *a, size_t begin, size_t end) {
    const size_t n = a->size, rotated = a->cos != NULL ? a->rotated : 0;
    const float *gamma = a->gamma;
    for (size_t r = begin; r < end; r++) {
        const size_t token = r / a->heads, head = r % a->heads;
        const float *x = a->x + (int64_t)token * a->x_token + (int64_t)head * a->x_head;
        float *y = a->y + r * n, rstd = 1;
        if (gamma != NULL) rstd = (float)(1 / sqrt(vf_row_dot(x, x, n) / (double)n + a->epsilon));
        for (size_t i = 0; i < (rotated > 0 ? a->first : n); i++) y[i] = normal(x, gamma, rstd, i);
        if (rotated == 0) continue;
        const int64_t angle =
            (int64_t)(token / a->angle_repeat) * a->angle_token + (int64_t)head * a->angle_head;
        rotate(a, x + a->first, gamma != NULL ? gamma + a->first : NULL, rstd, angle, y + a->first);
        for (size_t i = a->first + rotated; i < n; i++) y[i] = normal(x, gamma, rstd, i);
    }
}

/* Adding 1.5 * 2^23 leaves no bits for a fraction: the sum is rounded to nearest even, and taken off again.
 */
void HC_FN(cache_quantise)(const struct hc_cache_rows *c, size_t token, size_t first, size_t n, float *to) {
    const float *x = c->rows + token * c->width + first;
    for (size_t i = 0; i < n; i++) {
        float v = x[i];
        if (c->scale != NULL) v = c->divide ? v / c->scale[first + i] : v * c->scale[first + i];
        if (c->offset != NULL) v += c->offset[first + i];
        to[i] = v;
    }
    if (!c->rounds) return;
    for (size_t i = 0; i < n; i++) {
        const float v = to[i] > -128.0f ? to[i] : -128.0f; /* NaN becomes -128 */
        const float magic = 0x1.8p23f;
        to[i] = ((v < 127.0f ? v : 127.0f) + magic) - magic;
    }
}

#else
enum { PIECE = 256 }; /* elements on the way into a cache */

static void norm_rope_rows(void *ctx, size_t begin, size_t end) { HC_DISPATCH(norm_rope)(ctx, begin, end); }

void hc_norm_rope_run(const struct hc_norm_rope *a) {
    if (a->size > 0) hc_parallel_for(a->tokens * a->heads, 1 + 16384 / a->size, norm_rope_rows, (void *)a);
}

struct write {
    const struct hc_cache_rows *c;
    const int64_t *last; /* token that a slot keeps */
};

/* Pieces end where a run of the cache does. */
static void write_row(const struct hc_cache_rows *c, size_t token, char *at) {
    const struct hc_cache_place *to = &c->to;
    hc_store_fn *store = hc_store_for(to->tensor->dtype, HC_F32);
    const int64_t item = to->tensor->item_size;
    const size_t run = (size_t)to->run;
    float piece[PIECE];
    for (size_t n, i = 0; i < c->width; i += n) {
        n = hc_min_size(hc_min_size(PIECE, run - i % run), c->width - i);
        HC_DISPATCH(cache_quantise)(c, token, i, n, piece);
        const int64_t element = (int64_t)(i / run) * to->run_stride + (int64_t)(i % run) * to->column;
        store(n, at + element * item, to->column, piece);
    }
}

/* Tokens whose slot a later one takes are left out, so no two threads write one place. */
static void write_rows(void *ctx, size_t begin, size_t end) {
    const struct write *w = ctx;
    const struct hc_cache_place *to = &w->c->to;
    for (size_t t = begin; t < end; t++) {
        const int64_t slot = w->c->slot[t];
        if (slot < 0 || w->last[slot] != (int64_t)t) continue;
        const int64_t at = slot / to->block_size * to->block + slot % to->block_size * to->place;
        write_row(w->c, t, hc_data(to->tensor) + at * to->tensor->item_size);
    }
}

aclnnStatus hc_cache_rows_write(const struct hc_cache_rows *c) {
    if (c->width == 0 || c->tokens == 0) return 0;
    /* Only entries of slots that are written are set, and only those are read. */
    int64_t *last = hc_block_take_array((size_t)(c->to.blocks * c->to.block_size), sizeof *last);
    HC_CHECK(last != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld slots", c->op,
             (long long)(c->to.blocks * c->to.block_size));
    for (size_t t = 0; t < c->tokens; t++)
        if (c->slot[t] >= 0) last[c->slot[t]] = (int64_t)t;
    hc_parallel_for(c->tokens, 1 + 16384 / c->width, write_rows, &(struct write){c, last});
    hc_block_give(last);
    return 0;
}
#endif
