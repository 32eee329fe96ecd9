// SPDX-License-Identifier: Apache-2.0
/* Scores of a tile to weights of bfloat16 (attention_tiles.h), 16 rows at a time: their maxima and sums are
 * reduced together, so that no row waits for its own.
 *
 * Weights are 2^(s unit log2 e - max log2 e) by a polynomial of degree 4, exact to 2^-18, of which 2^-9 are
 * left in bfloat16. Every weight, and every factor of earlier ones, is made by it, so a row has the same bits
 * whatever else is in its tile. */
#include "attention_tiles.h"

#if defined(HC_ISA) && defined(HC_ISA_amx)
#include "attention_bf16.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = HC_VL, PAIR = 2 * HC_VL, WHOLE = 128 };
static const float LOG2_E = 0x1.715476p0f;

/* 2^x: 2^f by the polynomial with the least relative error (2.9e-6) on [0, 1) among those that are 1 at 0,
 * times the power below x. 0 for -inf, NaN for NaN. */
INLINE vf exp2_of_weight(vf x) {
    const vf f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    vf y = vf_fma(f, vf_set(0x1.b7f734p-7f), vf_set(0x1.abf868p-5f));
    y = vf_fma(f, y, vf_set(0x1.ee2452p-3f));
    y = vf_fma(f, y, vf_set(0x1.62d6c6p-1f));
    y = vf_fma(f, y, vf_set(1));
    return _mm512_scalef_ps(y, x);
}

/* Lane i becomes the sum, or the maximum, of the lanes of x[i]. Each stage folds two halves and puts two
 * vectors into one. */
#define FOLD(name, OP)                                                                                       \
    INLINE vf name(const vf *x) {                                                                            \
        vf a[8], b[4], c[2];                                                                                 \
        _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) a[i] =                                           \
            OP(_mm512_shuffle_f32x4(x[i], x[i + 8], 0x44), _mm512_shuffle_f32x4(x[i], x[i + 8], 0xee));      \
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) b[i] =                                           \
            OP(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd));      \
        _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) c[i] =                                           \
            OP(_mm512_unpacklo_ps(b[i], b[i + 2]), _mm512_unpackhi_ps(b[i], b[i + 2]));                      \
        const vf d = OP(_mm512_unpacklo_ps(c[0], c[1]), _mm512_unpackhi_ps(c[0], c[1]));                     \
        return _mm512_shuffle_f32x4(d, d, 0xd8); /* quarters were 0, 8, 4, 12 */                             \
    }
FOLD(fold_max, _mm512_max_ps)
FOLD(fold_sum, _mm512_add_ps)

/* What of columns [first, first + 16) row r sees. */
INLINE __mmask16 seen(const struct attn_tiles_weights *w, size_t r, size_t first) {
    const size_t low = w->low[r] > first ? w->low[r] - first : 0;
    const size_t high = w->high[r] > first ? w->high[r] - first : 0;
    const uint32_t below_high = high >= HC_VL ? 0xffff : (1u << high) - 1;
    return (__mmask16)(low >= HC_VL ? 0 : below_high & ~((1u << low) - 1));
}
INLINE bool sees_all(const struct attn_tiles_weights *w, size_t r) {
    return w->low[r] == 0 && w->high[r] == WHOLE;
}

/* The maximum of what a row sees, in some lane; a NaN may be left out. */
INLINE vf highest(const struct attn_tiles_weights *w, size_t r) {
    const float *s = w->s + r * w->ld;
    vf a = vf_set(-INFINITY), b = a;
    if (sees_all(w, r)) {
        _Pragma("GCC unroll 4") for (size_t i = 0; i < WHOLE; i += PAIR) {
            a = vf_max_number(vf_load(s + i), a);
            b = vf_max_number(vf_load(s + i + HC_VL), b);
        }
    } else {
        for (size_t i = 0; i < w->high[r]; i += HC_VL) {
            const __mmask16 here = seen(w, r, i);
            a = vf_max_number(_mm512_mask_loadu_ps(a, here, s + i), a);
        }
    }
    return vf_max_number(a, b);
}

INLINE void put(const struct attn_tiles_weights *w, size_t r, size_t i, vf x, vf y) {
    if (w->to != NULL) {
        vf_store((float *)(w->to + r * w->pitch + i * sizeof(uint16_t)), side_by_side(x, y));
    } else {
        vf_store(w->s + r * w->ld + i, x);
        vf_store(w->s + r * w->ld + i + HC_VL, y);
    }
}

/* The weights of a row; returns their sum, in lanes. */
INLINE vf weights(const struct attn_tiles_weights *w, size_t r, vf unit, vf minus) {
    const float *s = w->s + r * w->ld;
    vf a = vf_zero(), b = a;
    if (sees_all(w, r)) {
        _Pragma("GCC unroll 4") for (size_t i = 0; i < WHOLE; i += PAIR) {
            const vf x = exp2_of_weight(vf_fma(vf_load(s + i), unit, minus));
            const vf y = exp2_of_weight(vf_fma(vf_load(s + i + HC_VL), unit, minus));
            put(w, r, i, x, y);
            a += x, b += y;
        }
        return a + b;
    }
    for (size_t i = 0; i < w->keys; i += PAIR) {
        const __mmask16 first = seen(w, r, i), second = seen(w, r, i + HC_VL);
        vf x = exp2_of_weight(vf_fma(_mm512_maskz_loadu_ps(first, s + i), unit, minus));
        vf y = exp2_of_weight(vf_fma(_mm512_maskz_loadu_ps(second, s + i + HC_VL), unit, minus));
        x = _mm512_maskz_mov_ps(first, x), y = _mm512_maskz_mov_ps(second, y);
        put(w, r, i, x, y);
        a += x, b += y;
    }
    return a + b;
}

static void scale_row(size_t n, float *x, float factor) {
    const vf f = vf_set(factor);
    for (size_t i = 0; i < n; i += HC_VL) vf_store(x + i, vf_load(x + i) * f);
}

/* `count` rows from `first` on. A NaN among the scores makes its weight, so the sum, NaN, and then the
 * maximum as well: it shows in the output instead of being skipped. Where nothing is visible so far any
 * finite maximum will do, and all weights are zero. */
INLINE void soften(const struct attn_tiles_weights *w, size_t first, size_t count) {
    const vf lowest = vf_set(-INFINITY), infinite = vf_set(INFINITY), log2_e = vf_set(LOG2_E);
    const __mmask16 rows = (__mmask16)((1u << count) - 1);
    vf x[ROWS];
    for (size_t r = 0; r < ROWS; r++) x[r] = r < count ? highest(w, first + r) : lowest;
    const vf old = _mm512_maskz_loadu_ps(rows, w->max + first);
    const vf now = vf_max_number(fold_max(x) * vf_set(w->unit), old);
    const __mmask16 nothing = _mm512_cmp_ps_mask(now, lowest, _CMP_EQ_OQ);
    const vf minus = _mm512_mask_mov_ps(now * -log2_e, nothing, vf_zero());
    vf rescale = exp2_of_weight(vf_fma(vf_set(-1), old * -log2_e, minus));
    rescale = _mm512_mask_mov_ps(rescale, _mm512_cmp_ps_mask(old, now, _CMP_EQ_OQ), vf_set(1));
    rescale = _mm512_mask_mov_ps(rescale, _mm512_cmp_ps_mask(old, lowest, _CMP_EQ_OQ), vf_zero());
    float minus_of[ROWS], rescale_of[ROWS];
    vf_store(minus_of, minus), vf_store(rescale_of, rescale);
    const vf unit = vf_set(w->unit * LOG2_E);
    for (size_t r = 0; r < ROWS; r++)
        x[r] = r < count ? weights(w, first + r, unit, vf_set(minus_of[r])) : vf_zero();
    const vf sum = vf_fma(_mm512_maskz_loadu_ps(rows, w->sum + first), rescale, fold_sum(x));
    const __mmask16 number =
        _mm512_cmp_ps_mask(sum, sum, _CMP_ORD_Q) | _mm512_cmp_ps_mask(now, infinite, _CMP_EQ_OQ);
    _mm512_mask_storeu_ps(w->sum + first, rows, sum);
    _mm512_mask_storeu_ps(w->max + first, rows, _mm512_mask_mov_ps(vf_set(NAN), number, now));
    for (size_t r = 0; r < count; r++) {
        if (rescale_of[r] != 1) scale_row(w->n_out, w->out + (first + r) * w->ld_out, rescale_of[r]);
    }
}

void HC_FN(attn_tiles_soften)(const struct attn_tiles_weights *w) {
    size_t first = 0;
    for (; first + ROWS <= w->rows; first += ROWS) soften(w, first, ROWS);
    if (first < w->rows) soften(w, first, w->rows - first);
}
#endif
