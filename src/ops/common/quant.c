// SPDX-License-Identifier: Apache-2.0
/* Checks, types of results and the loop over rows of quant.h. */
#include "quant.h"

HC_KERNEL(quant_store_I8, (size_t n, int8_t *y, const float *x))
HC_KERNEL(quant_store_U8, (size_t n, uint8_t *y, const float *x))
HC_KERNEL(quant_store_I4, (size_t n, uint32_t *y, const float *x))

#ifdef HC_ISA
/* Values are integers within the range: these conversions only change the width. By way of int32, which the
 * vector units convert to. */
void HC_FN(quant_store_I8)(size_t n, int8_t *y, const float *x) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = (int8_t)(int32_t)x[i];
}
void HC_FN(quant_store_U8)(size_t n, uint8_t *y, const float *x) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = (uint8_t)(int32_t)x[i];
}
/* n is a multiple of eight. */
void HC_FN(quant_store_I4)(size_t n, uint32_t *y, const float *x) {
    for (size_t i = 0; i < n; i += HC_INT4_IN_INT32, y++) {
        uint32_t word = 0;
        for (uint32_t j = 0; j < HC_INT4_IN_INT32; j++)
            word |= ((uint32_t)(int32_t)x[i + j] & 15u) << (4 * j);
        *y = word;
    }
}

#else
#include <stdatomic.h>
#include <string.h>

enum { GRAIN = 16384 }; /* elements in a piece, about */

/* From the list of the header, so that a kind and its range cannot part. */
struct hc_quant_target hc_quant_target_of(enum hc_quant_kind kind) {
    static const struct hc_quant_target TARGETS[] = {
#define X(kind, dtype, low, high) {HC_QUANT_##kind, low, high},
        HC_FOR_QUANT_KINDS(X)
#undef X
    };
    return TARGETS[kind];
}

/* x's shape but for the last dimension, which is an eighth. */
static bool is_packed_shape(const aclTensor *x, const aclTensor *y) {
    const int32_t last = x->rank - 1;
    if (x->rank != y->rank || x->rank == 0) return false;
    return memcmp(x->shape, y->shape, (size_t)last * sizeof *x->shape) == 0 &&
           x->shape[last] == y->shape[last] * HC_INT4_IN_INT32;
}

/* The kind that a tensor of this type holds; uint8 is asked for by name only. */
static bool find_kind(aclDataType dtype, enum hc_quant_kind *kind) {
    static const struct {
        enum hc_quant_kind kind;
        aclDataType dtype;
    } KINDS[] = {
#define X(kind, dtype, low, high) {HC_QUANT_##kind, dtype},
        HC_FOR_QUANT_KINDS(X)
#undef X
    };
    for (size_t i = 0; i < HC_ARRAY_SIZE(KINDS); i++) {
        /* uint8 would be found by bytes of types that clients have no name for. */
        if (KINDS[i].dtype != dtype || dtype == ACL_UINT8) continue;
        *kind = KINDS[i].kind;
        return true;
    }
    return false;
}

/* Which kind is wanted shows in y alone: clients give dstType as y has it, or as int4. */
aclnnStatus hc_quant_check_target(const char *name, const aclTensor *x, const char *y_name,
                                  const aclTensor *y, int64_t dst_type, struct hc_quant_target *target) {
    enum hc_quant_kind kind;
    HC_CHECK(y != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, y_name);
    HC_CHECK(
        find_kind(y->dtype, &kind), ACLNN_ERR_PARAM_INVALID,
        "%s: %s is %s, wanted int8, float8_e4m3fn, float8_e5m2, hifloat8, or int32 that holds eight int4",
        name, y_name, HC_SHOW(y));
    const bool four = kind == HC_QUANT_I4;
    HC_CHECK(four ? is_packed_shape(x, y) : hc_same_shape(x, y), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, x %s: wanted the same shape%s", name, y_name, HC_SHOW(y), HC_SHOW(x),
             four ? " but an eighth of the last dimension" : "");
    HC_CHECK(dst_type < 0 || dst_type == (int64_t)y->dtype || (four && dst_type == ACL_INT4),
             ACLNN_ERR_PARAM_INVALID, "%s: dstType is %lld, wanted the type of %s %s", name,
             (long long)dst_type, y_name, HC_SHOW(y));
    *target = hc_quant_target_of(kind);
    return 0;
}

/* Rows of int4 start at a whole int32, as the length of a row is a multiple of eight. */
void hc_quant_store(const struct hc_quant_target *target, char *y, size_t row, size_t n, const float *x) {
    switch (target->kind) {
    case HC_QUANT_I8: HC_DISPATCH(quant_store_I8)(n, (int8_t *)y + row * n, x); break;
    case HC_QUANT_U8: HC_DISPATCH(quant_store_U8)(n, (uint8_t *)y + row * n, x); break;
    case HC_QUANT_I4: HC_DISPATCH(quant_store_I4)(n, (uint32_t *)y + row * n / HC_INT4_IN_INT32, x); break;
    case HC_QUANT_F8E4M3: hc_store_for(ACL_FLOAT8_E4M3FN, HC_F32)(n, y + row * n, 1, x); break;
    case HC_QUANT_F8E5M2: hc_store_for(ACL_FLOAT8_E5M2, HC_F32)(n, y + row * n, 1, x); break;
    case HC_QUANT_HIF8: hc_store_for(ACL_HIFLOAT8, HC_F32)(n, y + row * n, 1, x); break;
    }
}

/* What every quantiser takes. */
aclnnStatus hc_quant_check_float(const char *name, const char *arg, const aclTensor *t) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(hc_fits_f32(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted float32, float16 or bfloat16", name, arg, HC_SHOW(t));
    return 0;
}

/* t has x's rank, and only the axis may differ from 1. */
static bool is_axis_of(const aclTensor *t, const aclTensor *x, int32_t axis) {
    if (t->rank != x->rank) return false;
    return t->numel == t->shape[axis];
}

/* inner: how many rows share a number before the next one counts. */
aclnnStatus hc_quant_check_axis(const char *name, const char *arg, const aclTensor *t, const aclTensor *x,
                                int32_t axis, struct hc_quant_axis *layout) {
    *layout = (struct hc_quant_axis){false, 1, 1};
    if (t->numel == 1) return 0;
    const bool fits = x->rank > 0 && t->numel == x->shape[axis] && (t->rank == 1 || is_axis_of(t, x, axis));
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted one element or those of dimension %d of x %s", name, arg, HC_SHOW(t),
             (int)axis, HC_SHOW(x));
    layout->along_row = axis == x->rank - 1;
    layout->count = hc_max_size(hc_numel(t), 1);
    for (int32_t d = axis + 1; d < x->rank - 1; d++) layout->inner *= hc_max_size((size_t)x->shape[d], 1);
    return 0;
}

/* A range of zeros gives a scale of 0, and one of a single number an offset that is none: formulas as they
 * are, because whoever turns the integers back uses the same. */
struct hc_quant_scale hc_quant_scale_of(const struct hc_quant_target *target, struct hc_quant_range range,
                                        bool symmetric) {
    if (symmetric) {
        const float largest = -range.min > range.max ? -range.min : range.max;
        return (struct hc_quant_scale){largest / target->high, 0};
    }
    const float scale = (range.max - range.min) / (target->high - target->low);
    return (struct hc_quant_scale){scale, target->high - range.max / scale};
}

/* By a division, as the formula says: a product with the reciprocal rounds twice. */
void hc_quant_row(const struct hc_quant_target *target, const struct hc_quant_scale *by, size_t n, float *x) {
    const struct hc_quant_affine a = {
        .scale = &by->scale, .offset = &by->offset, .divide = true, .target = *target};
    HC_DISPATCH(hc_quant_affine)(n, x, x, &a);
}

/* Into our memory first: another thread may write the caller's. */
aclnnStatus hc_quant_read_groups(const char *name, const char *arg, const aclTensor *index, int64_t rows,
                                 bool some, int64_t *ends) {
    const int64_t groups = index->numel;
    const aclTensor copy = hc_tensor_view(ACL_INT64, &groups, 1, ends);
    HC_TRY(hc_copy(&copy, index));
    for (int64_t g = 0; g < groups; g++) {
        const int64_t lowest = g == groups - 1 && !some ? rows : g > 0 ? ends[g - 1] : 0;
        HC_CHECK(ends[g] >= lowest && ends[g] <= rows, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%lld] is %lld, wanted %lld to %lld: ends of groups of rows%s", name, arg,
                 (long long)g, (long long)ends[g], (long long)lowest, (long long)rows,
                 some ? "" : ", the last the number of rows");
    }
    return 0;
}

/* `failed`: a thread had no memory, which a piece cannot return. */
struct loop {
    const struct hc_quant_rows *rows;
    hc_load_fn *load;
    atomic_bool failed;
};

/* Rows [begin, end), each loaded into the first-level cache where it fits. Padded, so that the spare row
 * starts a line. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    const size_t n = l->rows->n, padded = hc_align_up(n, 16), item = (size_t)l->rows->x->item_size;
    float *x = hc_scratch(HC_SCRATCH_C, 2 * padded * sizeof *x);
    if (x == NULL) {
        atomic_store(&l->failed, true);
        return;
    }
    for (size_t row = begin; row < end; row++) {
        l->load(n, x, hc_data(l->rows->x) + row * n * item, 1);
        l->rows->row(l->rows->ctx, row, x, x + padded);
    }
}

/* Pieces are sized by elements, and by the shape only. */
aclnnStatus hc_quant_rows_run(const struct hc_quant_rows *rows) {
    struct loop l = {.rows = rows, .load = hc_load_for(rows->x->dtype, HC_F32)};
    if (rows->n == 0) return 0;
    hc_parallel_for(rows->rows, hc_max_size(GRAIN / rows->n, 1), run_rows, &l);
    HC_CHECK(!atomic_load(&l.failed), ACLNN_ERR_INNER, "%s: out of host memory for rows of %zu elements",
             rows->name, rows->n);
    return 0;
}

/* Of hc_quant_by_row: y and scale are contiguous. */
struct by_row {
    const struct hc_quant_target *target;
    size_t n;
    char *y;
    float *scale;
};

static void quantise_by_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct by_row *b = ctx;
    struct hc_quant_range range;
    (void)spare;
    HC_DISPATCH(hc_quant_range)(b->n, x, NULL, &range);
    const struct hc_quant_scale by = hc_quant_scale_of(b->target, range, true);
    b->scale[row] = by.scale;
    hc_quant_row(b->target, &by, b->n, x);
    hc_quant_store(b->target, b->y, row, b->n, x);
}

aclnnStatus hc_quant_by_row(const char *name, const struct hc_quant_target *target, const aclTensor *x,
                            size_t n, const aclTensor *y, const aclTensor *scale) {
    aclTensor to, scales;
    void *own_y = NULL, *own_scale = NULL;
    aclnnStatus status = hc_contiguous_out(y, y->dtype, &to, &own_y);
    if (status == 0) status = hc_contiguous_out(scale, ACL_FLOAT, &scales, &own_scale);
    if (status == 0) {
        const struct by_row b = {target, n, hc_data(&to), (float *)hc_data(&scales)};
        status = hc_quant_rows_run(
            &(const struct hc_quant_rows){name, x, n, hc_numel(scale), quantise_by_row, &b});
    }
    if (status == 0 && own_y != NULL) status = hc_copy(y, &to);
    if (status == 0 && own_scale != NULL) status = hc_copy(scale, &scales);
    hc_block_give(own_y);
    hc_block_give(own_scale);
    return status;
}

/* Of hc_quant_by_given: y is contiguous. */
struct by_given {
    const struct hc_quant_given *by;
    const float *scale, *offset;
    char *y;
    size_t n;
};

/* In place of the row that the loop has loaded. */
static void quantise_by_given(const void *ctx, size_t row, float *x, float *spare) {
    const struct by_given *g = ctx;
    const struct hc_quant_given *by = g->by;
    (void)spare;
    const struct hc_quant_affine affine = {.scale = hc_quant_at(&by->scale, g->scale, row),
                                           .offset = hc_quant_at(&by->offset, g->offset, row),
                                           .scale_each = by->scale.along_row,
                                           .offset_each = by->offset.along_row,
                                           .divide = by->divide,
                                           .rounding = by->rounding,
                                           .target = by->target};
    HC_DISPATCH(hc_quant_affine)(g->n, x, x, &affine);
    hc_quant_store(&by->target, g->y, row, g->n, x);
}

aclnnStatus hc_quant_by_given(const char *name, const struct hc_quant_given *by, const aclTensor *x,
                              const float *scale, const float *offset, const aclTensor *y) {
    aclTensor to;
    void *owned = NULL;
    aclnnStatus status = hc_contiguous_out(y, y->dtype, &to, &owned);
    if (status == 0) {
        const struct by_given g = {by, scale, offset, hc_data(&to), hc_quant_row_length(x)};
        status = hc_quant_rows_run(
            &(const struct hc_quant_rows){name, x, g.n, hc_quant_row_count(x), quantise_by_given, &g});
    }
    if (status == 0 && owned != NULL) status = hc_copy(y, &to);
    hc_block_give(owned);
    return status;
}
#endif
