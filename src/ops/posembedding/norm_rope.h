// SPDX-License-Identifier: Apache-2.0
/* Rows of heads normalised, rotated and written into caches, for the operators that prepare attention's
 * inputs. T tokens, N heads of a token, D elements of a head. */
#pragma once
#include "plain.h"

/* y[t, h] = rope(x[t, h] / rms(x[t, h]) * gamma), float32. */
struct hc_norm_rope {
    const float *x;
    int64_t x_token, x_head; /* strides in elements */
    float *y;                /* [T, N, D] */
    size_t tokens, heads, size;
    const float *gamma; /* NULL: x is taken as it is */
    double epsilon;
    const float *cos, *sin;          /* NULL: no rotation */
    int64_t angle_token, angle_head; /* strides */
    size_t angle_repeat;             /* so many tokens in a row share angles */
    size_t first, rotated;           /* the elements that are rotated, an even number */
    bool interleaved;                /* pairs are neighbours in x, and halves in y */
};
void hc_norm_rope_run(const struct hc_norm_rope *a);

/* Where tokens lie in a cache: token slot s is place s % block_size of block s / block_size; its elements are
 * runs of `run` elements. Strides in elements. */
struct hc_cache_place {
    const aclTensor *tensor;
    int64_t blocks, block_size, block, place, run, run_stride, column;
};
/* Rows [T, width] to slots; a slot below 0 is left out, and of several tokens with one slot the last stays.
 */
struct hc_cache_rows {
    const char *op;
    struct hc_cache_place to;
    const float *rows;
    const int64_t *slot; /* checked */
    size_t tokens, width;
    const float *scale, *offset; /* of `width` each; NULL: none */
    bool divide;                 /* by the scale, instead of multiplied */
    bool rounds;                 /* to int8: nearest even, saturated */
};
aclnnStatus hc_cache_rows_write(const struct hc_cache_rows *c);
