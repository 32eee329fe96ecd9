// SPDX-License-Identifier: Apache-2.0
/* See swiglu.h. */
#include "swiglu.h"

HC_KERNEL(swiglu_row, (size_t n, float *y, const float *a, const float *b, const struct hc_swiglu_gate *gate))
HC_KERNEL(swiglu_grad_row, (size_t n, float *da, float *db, const float *a, const float *b, const float *grad,
                            const struct hc_swiglu_gate *gate))

#ifdef HC_ISA
#include "simd_math.h"
#include "simd_rows.h"

/* NaN stays NaN through the limits. */
static inline vf activate(vf a, vf b, const struct hc_swiglu_gate *g) {
    const vf limit = vf_set(g->limit), x = vf_min(a, limit), y = vf_max(vf_min(b, limit), -limit);
    return x * vf_sigmoid(vf_set(g->alpha) * x) * (y + vf_set(g->shift));
}
void HC_FN(swiglu_row)(size_t n, float *y, const float *a, const float *b,
                       const struct hc_swiglu_gate *gate) {
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, activate(vf_load(a + i), vf_load(b + i), gate));
    if (i < n)
        vf_store_part(y + i, activate(vf_load_part(a + i, n - i), vf_load_part(b + i, n - i), gate), n - i);
}

/* Where there is no limit nothing reaches it, infinity neither: no comparison with NaN is true. */
static inline void differentiate(vf a, vf b, vf grad, const struct hc_swiglu_gate *g, vf *da, vf *db) {
    const vf limit = vf_set(g->limit), alpha = vf_set(g->alpha);
    const vf cut = vf_set(g->limit < __builtin_inff() ? g->limit : __builtin_nanf(""));
    const vf x = vf_min(a, limit), y = vf_max(vf_min(b, limit), -limit);
    const vf s = vf_sigmoid(alpha * x), linear = x * s;
    *da = vf_select(a >= cut, vf_zero(), grad * (y + vf_set(g->shift)) * (s + alpha * linear * (1.0f - s)));
    *db = vf_select(vf_abs(b) >= cut, vf_zero(), grad * linear);
}
/* Both gradients of an element are written after everything of it is read: da may be a, db b. */
void HC_FN(swiglu_grad_row)(size_t n, float *da, float *db, const float *a, const float *b, const float *grad,
                            const struct hc_swiglu_gate *gate) {
    vf x, y;
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        differentiate(vf_load(a + i), vf_load(b + i), vf_load(grad + i), gate, &x, &y);
        vf_store(da + i, x);
        vf_store(db + i, y);
    }
    if (i == n) return;
    differentiate(vf_load_part(a + i, n - i), vf_load_part(b + i, n - i), vf_load_part(grad + i, n - i), gate,
                  &x, &y);
    vf_store_part(da + i, x, n - i);
    vf_store_part(db + i, y, n - i);
}

#else
/* Pairs are taken apart first, so that there is one loop. */
float *hc_swiglu_of_row(const struct hc_swiglu *s, size_t n, float *x, float *spare) {
    if (!s->interleaved) {
        HC_DISPATCH(swiglu_row)(n, spare, x + (s->left ? 0 : n), x + (s->left ? n : 0), &s->gate);
        return spare;
    }
    for (size_t i = 0; i < n; i++) spare[i] = x[2 * i], spare[n + i] = x[2 * i + 1];
    HC_DISPATCH(swiglu_row)(n, x, spare, spare + n, &s->gate);
    return x;
}

/* Halves only: no operator asks for the gradient of pairs. */
void hc_swiglu_grad_of_row(const struct hc_swiglu *s, size_t n, float *out, const float *x,
                           const float *grad) {
    const size_t a = s->left ? 0 : n, b = s->left ? n : 0;
    HC_DISPATCH(swiglu_grad_row)(n, out + a, out + b, x + a, x + b, grad, &s->gate);
}
#endif
