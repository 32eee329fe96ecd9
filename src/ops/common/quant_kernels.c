// SPDX-License-Identifier: Apache-2.0
/* The loops of quant.h over a row. Clipping comes before rounding: the bounds are integers, so the result is
 * the same, and what is left is small enough to be rounded by an addition. */
#include "quant.h"

#ifdef HC_ISA
#include "simd_rows.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* NaN gives 0, and NaN where the store rounds. */
ALWAYS_INLINE vf clip_and_round(vf x, vf low, vf high, enum hc_quant_rounding ROUNDING) {
    const vf inside = vf_select(x > high, high, vf_select(x < low, low, x)), zero = vf_zero();
    if (ROUNDING == HC_QUANT_KEEP) return inside;
    const vf near = vf_round_small(inside), one = vf_set(1);
    const vf down = near - vf_select(near > inside, one, zero),
             up = near + vf_select(near < inside, one, zero);
    vf y = near;
    if (ROUNDING == HC_QUANT_FLOOR) y = down;
    else if (ROUNDING == HC_QUANT_CEIL) y = up;
    else if (ROUNDING == HC_QUANT_TRUNC) y = vf_select(inside < zero, up, down);
    return vf_select(x == x, y, zero);
}

/* Zeros have a scale of 0, and a float target would make NaN of 0 / 0. */
ALWAYS_INLINE vf divide(vf v, vf s, enum hc_quant_rounding ROUNDING) {
    return v / (ROUNDING == HC_QUANT_KEEP ? vf_select(s == vf_zero(), vf_set(1), s) : s);
}

/* The flags are constants of the frequent calls, so that their loops have no branches. */
ALWAYS_INLINE void affine(size_t n, float *y, const float *x, const struct hc_quant_affine *a,
                          bool SCALE_EACH, bool OFFSET_EACH, bool DIVIDE, enum hc_quant_rounding ROUNDING) {
    const vf low = vf_set(a->target.low), high = vf_set(a->target.high);
    const vf scale = vf_set(a->scale[0]), offset = vf_set(a->offset != NULL ? a->offset[0] : 0);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        const vf s = SCALE_EACH ? vf_load(a->scale + i) : scale, v = vf_load(x + i);
        const vf o = OFFSET_EACH ? vf_load(a->offset + i) : offset;
        vf_store(y + i, clip_and_round((DIVIDE ? divide(v, s, ROUNDING) : v * s) + o, low, high, ROUNDING));
    }
    if (i == n) return;
    const vf s = SCALE_EACH ? vf_load_part(a->scale + i, n - i) : scale, v = vf_load_part(x + i, n - i);
    const vf o = OFFSET_EACH ? vf_load_part(a->offset + i, n - i) : offset;
    vf_store_part(y + i, clip_and_round((DIVIDE ? divide(v, s, ROUNDING) : v * s) + o, low, high, ROUNDING),
                  n - i);
}

/* offset NULL stands for an offset of 0 for all. */
void HC_FN(hc_quant_affine)(size_t n, float *y, const float *x, const struct hc_quant_affine *a) {
    const bool offsets = a->offset != NULL && a->offset_each;
    if (hc_quant_is_float(&a->target)) affine(n, y, x, a, a->scale_each, offsets, a->divide, HC_QUANT_KEEP);
    else if (a->rounding != HC_QUANT_NEAREST)
        affine(n, y, x, a, a->scale_each, offsets, a->divide, a->rounding);
    else if (a->divide && a->scale_each) affine(n, y, x, a, true, offsets, true, HC_QUANT_NEAREST);
    else if (a->divide) affine(n, y, x, a, false, offsets, true, HC_QUANT_NEAREST);
    else if (a->scale_each) affine(n, y, x, a, true, offsets, false, HC_QUANT_NEAREST);
    else affine(n, y, x, a, false, offsets, false, HC_QUANT_NEAREST);
}

/* One pass, which leaves the products in x for the next. */
void HC_FN(hc_quant_range)(size_t n, float *x, const float *factor, struct hc_quant_range *range) {
    vf min = vf_set(__builtin_inff()), max = vf_set(-__builtin_inff());
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        vf v = vf_load(x + i);
        if (factor != NULL) v *= vf_load(factor + i), vf_store(x + i, v);
        min = vf_min(min, v);
        max = vf_max(max, v);
    }
    range->max = vf_reduce_max(max);
    range->min = -vf_reduce_max(-min);
    for (; i < n; i++) {
        if (factor != NULL) x[i] *= factor[i];
        range->min = x[i] < range->min || x[i] != x[i] ? x[i] : range->min;
        range->max = x[i] > range->max || x[i] != x[i] ? x[i] : range->max;
    }
}
#endif
