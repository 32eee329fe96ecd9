// SPDX-License-Identifier: Apache-2.0
/* What the quantising operators share: what values are rounded to, numbers along an axis, and the loop over
 * rows.
 *
 * Everything is computed in float32, in the order in which the operator's formula says, and rounded once to
 * an integer, to nearest with ties to even. What is out of range becomes the nearest value of the range, and
 * what is not a number (0 / 0 of a row of zeros) becomes 0. Floats of a byte are rounded as their type says
 * (simd_narrow.h) and keep NaN; a row of zeros, whose scale is 0, is zeros there too. */
#pragma once
#include "int4.h"

/* X(kind, dtype, lowest, highest): int4 are eight in an int32 of memory, the first in the lowest bits. */
#define HC_FOR_QUANT_KINDS(X)                                                                                \
    X(I8, ACL_INT8, -128, 127)                                                                               \
    X(U8, ACL_UINT8, 0, 255)                                                                                 \
    X(I4, ACL_INT32, -8, 7)                                                                                  \
    X(F8E4M3, ACL_FLOAT8_E4M3FN, -448, 448)                                                                  \
    X(F8E5M2, ACL_FLOAT8_E5M2, -57344, 57344)                                                                \
    X(HIF8, ACL_HIFLOAT8, -32768, 32768)
enum hc_quant_kind {
#define X(kind, dtype, low, high) HC_QUANT_##kind,
    HC_FOR_QUANT_KINDS(X)
#undef X
};

struct hc_quant_target {
    enum hc_quant_kind kind;
    float low, high;
};
struct hc_quant_target hc_quant_target_of(enum hc_quant_kind kind);
static inline bool hc_quant_is_float(const struct hc_quant_target *target) {
    return target->kind >= HC_QUANT_F8E4M3;
}
/* What y says it wants of x's values: int8, a float of a byte, or int4 in an int32 tensor whose last
 * dimension is an eighth of x's. dst_type is the same as a number of the interface: that of y's type,
 * ACL_INT4 for int4; -1 where the operator has no such argument. */
aclnnStatus hc_quant_check_target(const char *name, const aclTensor *x, const char *y_name,
                                  const aclTensor *y, int64_t dst_type, struct hc_quant_target *target);
/* Row `row` of a contiguous y of n elements a row: x are rounded values within the target's range. */
void hc_quant_store(const struct hc_quant_target *target, char *y, size_t row, size_t n, const float *x);

/* A floating point tensor is given. */
aclnnStatus hc_quant_check_float(const char *name, const char *arg, const aclTensor *t);

/* Numbers along an axis: one for all elements, one for each of a row, or one for each index of a dimension
 * outside the row. */
struct hc_quant_axis {
    bool along_row;
    size_t count, inner; /* else row r has number r / inner % count */
};
/* t belongs to `axis` (not negative) of x: one element; as many as the axis has, in one dimension; or x's
 * dimensions with 1 for all but the axis. */
aclnnStatus hc_quant_check_axis(const char *name, const char *arg, const aclTensor *t, const aclTensor *x,
                                int32_t axis, struct hc_quant_axis *layout);
/* Numbers of a row. data NULL: there are none. */
static inline const float *hc_quant_at(const struct hc_quant_axis *a, const float *data, size_t row) {
    return data == NULL || a->along_row ? data : data + row / a->inner % a->count;
}

/* y[i] = clip(x[i] * scale[i] + offset[i]), rounded; each or one number for all. x / scale where `divide`.
 * offset NULL is 0. y may be x. Of float targets the rounding does not count: it is the store's. */
enum hc_quant_rounding { HC_QUANT_NEAREST, HC_QUANT_FLOOR, HC_QUANT_CEIL, HC_QUANT_TRUNC, HC_QUANT_KEEP };
struct hc_quant_affine {
    const float *scale, *offset;
    bool scale_each, offset_each, divide;
    enum hc_quant_rounding rounding;
    struct hc_quant_target target;
};
HC_KERNEL(hc_quant_affine, (size_t n, float *y, const float *x, const struct hc_quant_affine *a))
/* x *= factor (NULL: 1), and the smallest and largest of them; NaN if any is. */
struct hc_quant_range {
    float min, max;
};
HC_KERNEL(hc_quant_range, (size_t n, float *x, const float *factor, struct hc_quant_range *range))

/* What a row is quantised with. Symmetric: scale = max |x| / highest. Else scale = (max - min) / (highest -
 * lowest) and offset = highest - max / scale. */
struct hc_quant_scale {
    float scale, offset;
};
struct hc_quant_scale hc_quant_scale_of(const struct hc_quant_target *target, struct hc_quant_range range,
                                        bool symmetric);
/* x = round(x / scale + offset). */
void hc_quant_row(const struct hc_quant_target *target, const struct hc_quant_scale *by, size_t n, float *x);

/* The ends of groups of rows, read once: in order, and the last is `rows`, or may be less where groups need
 * not be of all of them (`some`). `ends` has room for all. */
aclnnStatus hc_quant_read_groups(const char *name, const char *arg, const aclTensor *index, int64_t rows,
                                 bool some, int64_t *ends);

/* Rows of n elements of a contiguous floating point tensor on the pool, each in float32 in memory of the
 * thread's that `row` may write; `spare` is as much again. Called in any order. */
struct hc_quant_rows {
    const char *name;
    const aclTensor *x;
    size_t n, rows;
    void (*row)(const void *ctx, size_t row, float *x, float *spare);
    const void *ctx;
};
aclnnStatus hc_quant_rows_run(const struct hc_quant_rows *rows);
/* Each row of n elements of a contiguous x by a symmetric scale of its own, which goes to `scale`, one number
 * for each row; y and scale of any strides. */
aclnnStatus hc_quant_by_row(const char *name, const struct hc_quant_target *target, const aclTensor *x,
                            size_t n, const aclTensor *y, const aclTensor *scale);

/* Each row of a contiguous x with given numbers, contiguous float32 of the layouts said; offset NULL is 0. As
 * hc_quant_affine otherwise; y of any strides. */
struct hc_quant_given {
    struct hc_quant_axis scale, offset;
    bool divide;
    enum hc_quant_rounding rounding;
    struct hc_quant_target target;
};
aclnnStatus hc_quant_by_given(const char *name, const struct hc_quant_given *by, const aclTensor *x,
                              const float *scale, const float *offset, const aclTensor *y);

/* Elements of the last dimension, and rows of them. */
static inline size_t hc_quant_row_length(const aclTensor *x) {
    return x->rank > 0 ? (size_t)x->shape[x->rank - 1] : 1;
}
static inline size_t hc_quant_row_count(const aclTensor *x) {
    const size_t n = hc_quant_row_length(x);
    return n > 0 ? hc_numel(x) / n : 0;
}
