// SPDX-License-Identifier: Apache-2.0
/* Convolutions of one, two and three dimensions: what their operators share (private to this folder).
 *
 * All are seen in three dimensions, missing ones being of size 1, and in the direction of a convolution that
 * is not transposed, from x to y:
 *
 *     y[n,g,o,q] = sum over c, k of w[g,o,c,k] * x[n,g,c, q * stride + k * dilation - pad]
 *
 * A transposed convolution computes x from y, as the gradient of x does; so three routines make up every
 * forward and backward: y from x and w, x from y and w, w from x and y. */
#pragma once
#include "temporary.h"

enum { CONV_DIMS = 3 };

/* Sizes of one convolution. cx and cy are channels per group. */
struct conv_shape {
    size_t batch, groups, cx, cy;
    int64_t x[CONV_DIMS], y[CONV_DIMS], kernel[CONV_DIMS];
    int64_t stride[CONV_DIMS], pad[CONV_DIMS], dilation[CONV_DIMS];
};
static inline size_t conv_volume(const int64_t *size) { return (size_t)(size[0] * size[1] * size[2]); }
/* Rows of the matrix of patches: one for each weight of an output channel. */
static inline size_t conv_rows(const struct conv_shape *s) { return s->cx * conv_volume(s->kernel); }

/* The arguments of an operator as it was called. Tensors other than input and weight may be NULL. */
struct conv_call {
    const char *name;
    const aclTensor *input, *weight, *bias, *output;
    const char *output_name;
    const aclIntArray *stride, *padding, *dilation, *output_padding;
    bool transposed;
    int64_t groups;
    int8_t cube_math_type; /* allows lower precision, which is not made use of */
};
/* Check them all and derive the sizes. Touches no data. */
aclnnStatus conv_describe(const struct conv_call *call, struct conv_shape *shape);
/* self [T, B, C], weight [K, C, O] and output [T', B, O] seen as a convolution's [B, C, T], [O, C, K] and
 * [B, O, T'], with the lists of its arguments. */
struct conv_tbc {
    aclTensor x, w, y;
    int64_t one_value, pad_value;
    aclIntArray one, pad;
};
aclnnStatus conv_tbc_views(const char *name, const char *const arguments[3], const aclTensor *input,
                           const aclTensor *weight, const aclTensor *output, int64_t pad, struct conv_tbc *t);
/* Multiply-adds times two. */
uint64_t conv_flops(const struct conv_shape *s);

/* Tensors here are contiguous in the order of the formula, x [N, G*cx, ...], y [N, G*cy, ...], w [G*cy, cx,
 * ...], and what is written shares no memory with what is read. bias, one per channel of what is written, may
 * be NULL. Floats are added up in float32, float64 in float64, in an order that depends on the sizes of one
 * sample only. */
aclnnStatus conv_forward(const struct conv_shape *s, const aclTensor *x, const aclTensor *w,
                         const aclTensor *bias, const aclTensor *y);
aclnnStatus conv_data(const struct conv_shape *s, const aclTensor *y, const aclTensor *w,
                      const aclTensor *bias, const aclTensor *x);
/* w from x and y: the sum goes over the batch as well, sample after sample. */
aclnnStatus conv_weight(const struct conv_shape *s, const aclTensor *x, const aclTensor *y,
                        const aclTensor *w);

/* The same for one channel of x in each group, without matrices: conv_is_depthwise says where it pays. */
bool conv_is_depthwise(const struct conv_shape *s, const aclTensor *x);
aclnnStatus conv_depthwise_forward(const struct conv_shape *s, const aclTensor *x, const aclTensor *w,
                                   const aclTensor *bias, const aclTensor *y);
aclnnStatus conv_depthwise_data(const struct conv_shape *s, const aclTensor *y, const aclTensor *w,
                                const aclTensor *bias, const aclTensor *x);
aclnnStatus conv_depthwise_weight(const struct conv_shape *s, const aclTensor *x, const aclTensor *y,
                                  const aclTensor *w);

/* Columns [first, first + cols) of the matrix of patches of one sample and group: row (c, k), column q. Rows
 * are `cols` elements apart. */
struct conv_columns {
    const struct conv_shape *shape;
    char *x; /* the first channel of the sample's group */
    char *columns;
    size_t first, cols;
    size_t item; /* bytes of an element of both */
};
/* columns = patches of x, 0 beyond its edges; then x += columns, in float32 (item 4) or float64. On the pool,
 * or in the caller inside another loop. */
void conv_take_patches(const struct conv_columns *c);
void conv_add_patches(const struct conv_columns *c);

/* Whether the matrix of patches is x itself: kernel and stride 1, no padding. */
bool conv_is_pointwise(const struct conv_shape *s);
/* Columns to work on at a time: the matrix of patches is as many times x as the kernel has elements. */
size_t conv_block_cols(const struct conv_shape *s, size_t item);
