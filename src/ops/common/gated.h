// SPDX-License-Identifier: Apache-2.0
/* Skeleton of gated activations: x is cut in two halves a and b along a dimension, y = f(a, b); backward
 * gives the gradients of both halves, side by side in one tensor. The halves are views, so any layout works
 * without copies. */
#pragma once
#include "elementwise.h"

/* out has x's shape with `dim` halved. op: kernels with one output and the inputs a, b. */
aclnnStatus hc_gated_plan(const struct hc_ew *op, const aclTensor *x, int64_t dim, const aclTensor *out,
                          uint64_t *workspaceSize, aclOpExecutor **executor);
/* gradInput has x's shape. op: kernels with the outputs (gradient of a, of b) and the inputs gradient, a, b.
 */
aclnnStatus hc_gated_grad_plan(const struct hc_ew *op, const aclTensor *grad, const aclTensor *x, int64_t dim,
                               const aclTensor *gradInput, uint64_t *workspaceSize, aclOpExecutor **executor);
/* Half number `which` of x along dim (0 <= dim < rank, an even size). */
aclTensor hc_half(const aclTensor *x, int64_t dim, int which);

#ifdef HC_ISA
#include "simd.h"
/* fn(vf gradient, vf a, vf b, vf *grad_a, vf *grad_b), the tail through padded vectors. */
#define HC_EW_BODY_GATED_GRAD_VF(name, fn)                                                                   \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        float *ga = out[0], *gb = out[1];                                                                    \
        const float *g = in[0], *a = in[1], *b = in[2];                                                      \
        (void)args;                                                                                          \
        vf x, y;                                                                                             \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) {                                                                 \
            fn(vf_load(g + i), vf_load(a + i), vf_load(b + i), &x, &y);                                      \
            vf_store(ga + i, x);                                                                             \
            vf_store(gb + i, y);                                                                             \
        }                                                                                                    \
        if (i < n) {                                                                                         \
            const size_t rest = n - i;                                                                       \
            fn(vf_load_part(g + i, rest), vf_load_part(a + i, rest), vf_load_part(b + i, rest), &x, &y);     \
            vf_store_part(ga + i, x, rest);                                                                  \
            vf_store_part(gb + i, y, rest);                                                                  \
        }                                                                                                    \
    }
#define HC_EW_BODY_GATED_GRAD_F64(name, fn)                                                                  \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        double *ga = out[0], *gb = out[1];                                                                   \
        const double *g = in[0], *a = in[1], *b = in[2];                                                     \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i++) fn(g[i], a[i], b[i], &ga[i], &gb[i]);                                 \
    }
#endif
