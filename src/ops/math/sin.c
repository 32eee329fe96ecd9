// SPDX-License-Identifier: Apache-2.0
/* y = sin(x), element by element. Arguments up to 2^20 go through one vector loop: the quadrant is found
 * by adding a constant whose last place is 1, the rest is reduced in double. Larger ones, which are rare,
 * are redone by the C library. Within 2 units. */
#include "unary.h"

HC_EW_KERNELS_MATH(sin)

#ifdef HC_ISA
#include "complex_math.h"
#include "simd_math.h"

void HC_FN(sin_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    float *y = out[0];
    const float *x = in[0];
    (void)args;
    enum { CHUNK = 256 }; /* y may be x, so the arguments of a chunk are kept */
    float copy[CHUNK];
    for (size_t at = 0; at < n; at += CHUNK) {
        const size_t m = hc_min_size(n - at, CHUNK);
        memcpy(copy, x + at, m * sizeof *x);
        int large = 0;
        for (size_t i = 0; i < m; i++) large |= !(fabsf(copy[i]) <= HC_TRIG_LIMIT);
        for (size_t i = 0; i < m; i++) y[at + i] = hc_sin_quadrant(copy[i], 0);
        for (size_t i = 0; large && i < m; i++) {
            if (!(fabsf(copy[i]) <= HC_TRIG_LIMIT)) y[at + i] = (float)sin((double)copy[i]);
        }
    }
}
HC_EW_BODY1(sin_F64, double, double, sin)
HC_EW_BODY1(sin_C128, hc_c128, hc_c128, hc_csin)
#else
static const struct hc_ew SPEC = {"aclnnSin", HC_EW_TABLE_MATH(sin), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSin, SPEC)
HC_UNARY_INPLACE(aclnnInplaceSin, SPEC)
#endif
