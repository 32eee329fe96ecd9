// SPDX-License-Identifier: Apache-2.0
/* Activations of a row in float32, in place, for operators that do more with the row.
 *
 *     gelu        x Phi(x), by erf
 *     gelu_tanh   its approximation by tanh
 *     fastgelu    x sigmoid(1.702 x)
 *     silu        x sigmoid(x)
 *
 * They are those of the element-wise operators (gelu_math.h), to the bit where those compute in float32. NaN
 * stays NaN, in relu too. */
#pragma once
#include "op.h"

enum hc_activation {
    HC_ACTIVATION_RELU,
    HC_ACTIVATION_GELU,
    HC_ACTIVATION_GELU_TANH,
    HC_ACTIVATION_FAST_GELU,
    HC_ACTIVATION_SILU,
};

HC_KERNEL(hc_activate, (size_t n, float *x, enum hc_activation kind))
/* x[i] = f(x[i]) * y[i]. */
HC_KERNEL(hc_activate_gated, (size_t n, float *x, const float *y, enum hc_activation kind))
