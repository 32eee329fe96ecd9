// SPDX-License-Identifier: Apache-2.0
/* SwiGLU of a row in float32, for operators that quantise the result. */
#pragma once
#include "op.h"

/* a <= limit and |b| <= limit, then a * sigmoid(alpha * a) * (b + shift). */
struct hc_swiglu_gate {
    float limit, alpha, shift;
};
struct hc_swiglu {
    struct hc_swiglu_gate gate;
    bool left;        /* the first half is activated */
    bool interleaved; /* elements take turns instead of halves; the first of each pair is activated */
};
/* silu(a) * b. */
static const struct hc_swiglu_gate HC_SWIGLU_PLAIN = {__builtin_inff(), 1, 0};

/* n results of 2n elements into one of the two, which is returned; `spare` has room for 2n. */
float *hc_swiglu_of_row(const struct hc_swiglu *s, size_t n, float *x, float *spare);
/* Gradients of both halves of x, of 2n elements in halves, into `out`, which may be x: n results' gradients
 * are `grad`. What a limit has cut has none. */
void hc_swiglu_grad_of_row(const struct hc_swiglu *s, size_t n, float *out, const float *x,
                           const float *grad);
