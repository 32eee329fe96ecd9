// SPDX-License-Identifier: Apache-2.0
/* Tiles in registers and rows of a softmax.
 *
 * The product keeps a block of c in registers: 6 rows of 4 vectors with 32 registers, of 2 vectors with
 * 16 (24 or 12 sums, the columns of b, one broadcast of a). A panel of b (128 keys by 64 columns, 32 KiB)
 * stays in the first-level cache while the rows of a pass over it. The matrices are a tile's, float32 and
 * in cache, so nothing is packed: the general hc_gemm would spend more on packing than on these products.
 */
#include "attention_kernels.h"

#ifdef HC_ISA
#include "simd_math.h"
#include "simd_transpose.h"

#if defined(HC_ISA_avx512) || defined(__aarch64__)
#define WIDTH 4
#else
#define WIDTH 2
#endif
#define attn_step vf_fma
#include "attention_block.h"

PANEL(wide_panel, WIDTH)
PANEL(narrow_panel, 1)

/* The last columns go one vector at a time; what lies between n and the next multiple of a vector is
 * padding. */
void HC_FN(attn_gemm)(const struct attn_product *p) {
    size_t j = 0;
    for (; j + (WIDTH - 1) * HC_VL < p->n; j += WIDTH * HC_VL)
        wide_panel(p->m, p->k, p->a, p->am, p->ak, p->b + j, p->ldb, p->c + j, p->ldc, p->accumulate);
    for (; j < p->n; j += HC_VL)
        narrow_panel(p->m, p->k, p->a, p->am, p->ak, p->b + j, p->ldb, p->c + j, p->ldc, p->accumulate);
}

/* By squares of a vector each way; those at the edges reach into the padding of both tiles. */
void HC_FN(attn_transpose)(size_t rows, size_t columns, const float *src, size_t lds, float *dst,
                           size_t ldd) {
    for (size_t r = 0; r < rows; r += HC_VL) {
        for (size_t c = 0; c < columns; c += HC_VL) {
            vf x[HC_VL];
            _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) x[i] =
                vf_load(src + (r + i) * lds + c);
            vf_transpose(x);
            _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++)
                vf_store(dst + (c + i) * ldd + r, x[i]);
        }
    }
}

/* As many bytes as a vector has floats: mask bytes, widened to lanes. */
typedef uint8_t vb __attribute__((vector_size(HC_VL), aligned(1), may_alias));

/* Whole vectors that hold the visible part. */
INLINE size_t visible_from(const struct attn_row *row) { return row->low / HC_VL * HC_VL; }
INLINE size_t visible_to(const struct attn_row *row) {
    return hc_min_size((row->high + HC_VL - 1) / HC_VL * HC_VL, row->n);
}

/* What is not visible of the visible part's vectors becomes -inf. */
INLINE void hide_edges(const struct attn_row *row, float *s) {
    for (size_t i = visible_from(row); i < row->low; i++) s[i] = -INFINITY;
    for (size_t i = row->high; i < visible_to(row); i++) s[i] = -INFINITY;
}

/* What a mask hides becomes -inf. */
static void hide_masked(const struct attn_row *row, float *s) {
    const vf lowest = vf_set(-INFINITY);
    size_t i = row->low;
    for (; i + HC_VL <= row->high; i += HC_VL) {
        const vi masked = __builtin_convertvector(*(const vb *)(row->mask + i), vi) != 0;
        vf_store(s + i, vf_select(masked, lowest, vf_load(s + i)));
    }
    for (; i < row->high; i++) s[i] = row->mask[i] ? -INFINITY : s[i];
}

/* Position bias: before the scale, which is applied then, and after it. */
static void add_bias(const struct attn_row *row, float *s) {
    _Pragma("GCC ivdep") for (size_t i = row->low; i < row->high; i++) {
        float x = row->before != NULL ? s[i] + row->before[i] : s[i];
        x *= row->scale;
        s[i] = row->after != NULL ? x + row->after[i] : x;
    }
}

/* s becomes what is a logit but for a factor, -inf where hidden; returns that factor. Without a position bias
 * it is the scale, so that the scores are read but not written: the exponential multiplies by it on the way.
 * A factor that is not positive would turn -inf and the order around, so it is applied here as well. */
static float make_logits(const struct attn_row *row, float *s) {
    const bool later = row->before == NULL && row->after == NULL && row->scale > 0;
    if (!later) add_bias(row, s);
    hide_edges(row, s);
    if (row->mask != NULL) hide_masked(row, s);
    return later ? row->scale : 1;
}

void HC_FN(attn_logits_row)(const struct attn_row *row, float *s, float *unit) {
    *unit = make_logits(row, s);
}

/* The maximum of the visible part; a NaN may be left out. */
static float highest(const struct attn_row *row, const float *s) {
    const size_t end = visible_to(row);
    vf most = vf_set(-INFINITY), other = most;
    size_t i = visible_from(row);
    for (; i + 2 * HC_VL <= end; i += 2 * HC_VL) {
        most = vf_max_number(vf_load(s + i), most);
        other = vf_max_number(vf_load(s + i + HC_VL), other);
    }
    if (i + HC_VL <= end) most = vf_max_number(vf_load(s + i), most), i += HC_VL;
    float last = vf_reduce_max_of_numbers(vf_max_number(most, other));
    for (; i < end; i++) last = s[i] > last ? s[i] : last;
    return last;
}

/* s = exp(s * unit - max) * factor, 0 where nothing is visible; returns the sum. */
INLINE float exponentials(const struct attn_row *row, float *s, float unit, float max, float factor) {
    const vf u = vf_set(unit), m = vf_set(-max), f = vf_set(factor);
    const size_t end = visible_to(row);
    vf sum = vf_zero();
    size_t i = visible_from(row);
    memset(s, 0, i * sizeof(float));
    for (; i + HC_VL <= end; i += HC_VL) {
        const vf e = vf_exp_of_weight(vf_fma(vf_load(s + i), u, m)) * f;
        vf_store(s + i, e);
        sum = sum + e;
    }
    if (i < end) {
        const vf e = vf_exp_of_weight(vf_fma(vf_load_part(s + i, end - i), u, m)) * f;
        vf_store_part(s + i, e, end - i);
        vf counted = vf_zero();
        memcpy(&counted, &e, (end - i) * sizeof(float));
        sum = sum + counted;
    }
    memset(s + end, 0, (row->n - end) * sizeof(float));
    return vf_reduce_add(sum);
}

/* By the same polynomial as the vectors: rescaling must match the weights it is applied to. */
static float exp_one(float x) {
    const vf e = vf_exp_of_weight(vf_set(x));
    return e[0];
}

/* A NaN among the scores makes its weight, so the sum, NaN, and then the maximum as well: it shows in the
 * output instead of being skipped. */
void HC_FN(attn_softmax_row)(const struct attn_row *row, float *s, float *max, float *sum, float *rescale) {
    const float unit = make_logits(row, s), seen = highest(row, s) * unit, old = *max;
    const float now = seen > old ? seen : old;
    /* Nothing visible so far: any finite maximum will do, and all exponentials are zero. */
    const float base = now == -INFINITY ? 0 : now;
    *rescale = old == -INFINITY ? 0 : old == now ? 1 : exp_one(old - base);
    *sum = *sum * *rescale + exponentials(row, s, unit, base, 1);
    *max = *sum == *sum || now == INFINITY ? now : NAN;
}

void HC_FN(attn_probability_row)(const struct attn_row *row, float *s, float max, float inverse_sum) {
    const float unit = make_logits(row, s);
    exponentials(row, s, unit, max, inverse_sum);
}

/* A select, not a product with 0: what is dropped must be 0 even where x is infinite. */
void HC_FN(attn_dropout_row)(size_t n, float *x, const uint8_t *bits, size_t first, float factor) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {
        const size_t at = first + i;
        const float keep = (float)(bits[at >> 3] >> (at & 7) & 1);
        x[i] = keep != 0 ? x[i] * factor : 0;
    }
}

void HC_FN(attn_gradient_row)(const struct attn_row *row, const float *p, float *dp, float delta) {
    memset(dp, 0, row->low * sizeof(float));
    _Pragma("GCC ivdep") for (size_t i = row->low; i < row->high; i++) dp[i] = p[i] * (dp[i] - delta);
    memset(dp + row->high, 0, (row->n - row->high) * sizeof(float));
}

void HC_FN(attn_scale_row)(size_t n, float *x, float factor) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] *= factor;
}

void HC_FN(attn_sum_row)(size_t n, float *x, size_t parts, size_t step, float factor) {
    for (size_t i = 0; i < n; i += HC_VL) {
        vf sum = vf_load(x + i);
        for (size_t p = 1; p < parts; p++) sum += vf_load(x + i + p * step);
        vf_store(x + i, sum * vf_set(factor));
    }
}

/* A loop for each choice, so that all of them vectorise. */
void HC_FN(attn_antiquant_row)(size_t n, float *x, const float *scale, const float *offset, bool each) {
    const float s = scale[0], o = offset != NULL ? offset[0] : 0;
    if (each && offset != NULL) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] = (x[i] + offset[i]) * scale[i];
    } else if (each) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] *= scale[i];
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] = (x[i] + o) * s;
    }
}

/* In float: a head has 64 to 256 elements, and delta enters where float products do. */
void HC_FN(attn_dot)(size_t n, const float *a, const float *b, float *out) {
    vf sum = vf_zero();
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) sum = vf_fma(vf_load(a + i), vf_load(b + i), sum);
    if (i < n) sum = vf_fma(vf_load_part(a + i, n - i), vf_load_part(b + i, n - i), sum);
    *out = vf_reduce_add(sum);
}
#else
/* The API half of this family is in the operators' files. */
typedef int attention_kernels_has_no_interface;
#endif
