// SPDX-License-Identifier: Apache-2.0
/* See activate.h. */
#include "activate.h"

#ifdef HC_ISA
#include "gelu_math.h"

/* NaN stays NaN: a maximum would lose it. */
static inline vf relu(vf x) { return vf_select(x < 0.0f, vf_zero(), x); }
static inline vf silu(vf x) { return x * vf_sigmoid(x); }
static inline vf fast_gelu(vf x) { return x * vf_sigmoid(x * 1.702f); }

/* `f` is a constant where this is inlined. The tail goes through padded vectors. */
#define ROW(f)                                                                                               \
    do {                                                                                                     \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) {                                                                 \
            const vf v = f(vf_load(x + i));                                                                  \
            vf_store(x + i, y != NULL ? v * vf_load(y + i) : v);                                             \
        }                                                                                                    \
        if (i < n) {                                                                                         \
            const vf v = f(vf_load_part(x + i, n - i));                                                      \
            vf_store_part(x + i, y != NULL ? v * vf_load_part(y + i, n - i) : v, n - i);                     \
        }                                                                                                    \
    } while (0)

/* One loop for each kind, chosen outside of it. */
void HC_FN(hc_activate_gated)(size_t n, float *x, const float *y, enum hc_activation kind) {
    switch (kind) {
    case HC_ACTIVATION_RELU: ROW(relu); break;
    case HC_ACTIVATION_GELU: ROW(hc_gelu_vf); break;
    case HC_ACTIVATION_GELU_TANH: ROW(hc_gelu_tanh_vf); break;
    case HC_ACTIVATION_FAST_GELU: ROW(fast_gelu); break;
    case HC_ACTIVATION_SILU: ROW(silu); break;
    }
}
/* Without a second factor. */
void HC_FN(hc_activate)(size_t n, float *x, enum hc_activation kind) {
    HC_FN(hc_activate_gated)(n, x, NULL, kind);
}
#endif
