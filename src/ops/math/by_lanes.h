// SPDX-License-Identifier: Apache-2.0
/* What the C library computes in double, for a vector of floats: arguments that are rare, or sets without a
 * fused multiply-add. Not inlined, as it would push the common case out of registers. */
#pragma once
#include "simd.h"

#define HC_BY_LANES(name, function)                                                                          \
    static __attribute__((noinline)) vf name(vf x) {                                                         \
        vf y;                                                                                                \
        for (size_t i = 0; i < HC_VL; i++) y[i] = (float)function((double)x[i]);                             \
        return y;                                                                                            \
    }
