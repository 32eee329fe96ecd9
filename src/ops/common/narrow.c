// SPDX-License-Identifier: Apache-2.0
/* See narrow.h. Lines along the dimension of stride 1 become float32, are multiplied with their scales, one
 * for each element or for each stretch, and stored while they are in the cache. */
#include "narrow.h"

#include "gemm.h"

HC_KERNEL(narrow_finish, (size_t n, float *x, float factor, const float *scale, const float *bias))

#ifdef HC_ISA
/* One for each element, or for each stretch in a loop of its own. */
void HC_FN(hc_narrow_scale)(size_t n, float *x, const float *scale, size_t stretch) {
    if (stretch == 1) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] *= scale[i];
        return;
    }
    for (size_t at = 0; at < n; at += stretch, scale++) {
        const size_t end = hc_min_size(at + stretch, n);
        const float s = *scale;
        _Pragma("GCC ivdep") for (size_t i = at; i < end; i++) x[i] *= s;
    }
}
/* A run of a row of the product; the operands may be NULL. */
void HC_FN(narrow_finish)(size_t n, float *x, float factor, const float *scale, const float *bias) {
    if (scale != NULL) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] = x[i] * scale[i] * factor;
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] *= factor;
    }
    if (bias == NULL) return;
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] += bias[i];
}

#else
#include <stdatomic.h>

enum { MX_BLOCK = 32, FP32_BLOCK = 128, GRAIN = 16384 };

/* ---- scales ---- */

/* A pair is filled up, so that two scales are there for an odd number of blocks. */
static aclnnStatus check_mx(const char *name, const char *arg, const aclTensor *scale, int64_t rows,
                            int64_t k, struct hc_narrow_scales *scales) {
    const int64_t pairs = (int64_t)hc_ceil_div(hc_ceil_div((size_t)k, MX_BLOCK), 2);
    HC_CHECK(
        scale->rank == 3 && scale->shape[0] == rows && scale->shape[1] == pairs && scale->shape[2] == 2,
        ACLNN_ERR_PARAM_INVALID,
        "%s: %s is %s (with k behind the other dimension), wanted [%lld,%lld,2]: a scale for each 32 of k",
        name, arg, HC_SHOW(scale), (long long)rows, (long long)pairs);
    *scales = (struct hc_narrow_scales){scale, 1, MX_BLOCK};
    return 0;
}

/* Blocks of 128 of k, and of one or 128 rows. */
aclnnStatus hc_narrow_check_scales(const char *name, const char *arg, const aclTensor *scale, int64_t rows,
                                   int64_t k, struct hc_narrow_scales *scales) {
    if (scale->dtype == ACL_FLOAT8_E8M0) return check_mx(name, arg, scale, rows, k, scales);
    const int64_t of_k = (int64_t)hc_ceil_div((size_t)k, FP32_BLOCK);
    const int64_t of_rows = (int64_t)hc_ceil_div((size_t)rows, FP32_BLOCK);
    const bool each = scale->rank == 2 && scale->shape[0] == rows;
    HC_CHECK(scale->dtype == ACL_FLOAT && scale->rank == 2 && (each || scale->shape[0] == of_rows) &&
                 scale->shape[1] == of_k,
             ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s (with k last), wanted float32 [%lld,%lld] or [%lld,%lld], or MX scales of "
             "float8_e8m0fnu",
             name, arg, HC_SHOW(scale), (long long)rows, (long long)of_k, (long long)of_rows,
             (long long)of_k);
    *scales = (struct hc_narrow_scales){scale, each ? 1 : FP32_BLOCK, FP32_BLOCK};
    return 0;
}

/* As float32, numbers of a line together: of k blocks for each row block, or the other way round. */
static aclnnStatus take_scales(const char *name, const struct hc_narrow_scales *s, bool along_k, float **to) {
    aclTensor from = *s->t;
    if (!along_k && from.rank == 2) from = hc_transpose_view(s->t, 0, 1);
    if (!along_k && from.rank == 3) {
        const aclTensor turned = hc_transpose_view(s->t, 0, 1); /* pairs, rows, 2 */
        from = hc_transpose_view(&turned, 1, 2);
    }
    *to = hc_block_take_array(hc_numel(&from), sizeof **to);
    HC_CHECK(*to != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu scales", name, hc_numel(&from));
    const aclTensor copy = hc_tensor_view(ACL_FLOAT, from.shape, from.rank, *to);
    return hc_copy(&copy, &from);
}

/* ---- a matrix as floats ---- */

struct opening {
    const char *from;
    char *to;
    aclDataType dtype;
    size_t length, from_line, to_line; /* elements of a line, bytes between lines */
    hc_load_fn *load;
    hc_store_fn *store; /* NULL: lines are float32 */
    const float *scales;
    size_t numbers, line_block, stretch; /* of a line; lines that share them; elements that share one */
    atomic_bool failed;
};

/* Scales are exact powers of two, or rounded once here. */
static void load_line(const struct opening *o, size_t line, float *x) {
    const char *from = o->from + line * o->from_line;
    if (hc_is_fp4(o->dtype)) hc_fp4_load(o->dtype, o->length, x, (const uint8_t *)from);
    else o->load(o->length, x, from, 1);
    if (o->scales != NULL)
        HC_DISPATCH(hc_narrow_scale)(o->length, x, o->scales + line / o->line_block * o->numbers, o->stretch);
}

/* Float32 needs no second buffer: a line is loaded where it stays. */
static void open_lines(void *ctx, size_t begin, size_t end) {
    struct opening *o = ctx;
    float *x = o->store != NULL ? hc_scratch(HC_SCRATCH_C, o->length * sizeof *x) : NULL;
    if (o->store != NULL && x == NULL) {
        atomic_store(&o->failed, true);
        return;
    }
    for (size_t line = begin; line < end; line++) {
        char *to = o->to + line * o->to_line;
        load_line(o, line, o->store != NULL ? x : (float *)to);
        if (o->store != NULL) o->store(o->length, to, 1, x);
    }
}

/* Strides in elements; those of fp4, whose line begins at a whole byte, are halved. */
static void describe(struct opening *o, const aclTensor *t, int along, aclDataType dtype) {
    const size_t size = hc_dtype_size(dtype), bytes = (size_t)t->stride[1 - along];
    o->length = (size_t)t->shape[along];
    o->dtype = t->dtype;
    o->from = hc_is_fp4(t->dtype) ? t->base + t->offset : hc_data(t);
    o->from_line = hc_is_fp4(t->dtype) ? bytes / 2 : bytes;
    o->to_line = o->length * size;
    o->load = hc_is_fp4(t->dtype) ? NULL : hc_load_for(t->dtype, HC_F32);
    o->store = dtype == ACL_FLOAT ? NULL : hc_store_for(dtype, HC_F32);
}

/* The memory is twice to four times the matrix's: products read it many times, and conversion while packing
 * would do the work once for each pass. */
aclnnStatus hc_narrow_open(const char *name, const aclTensor *t, const struct hc_narrow_scales *scales,
                           aclDataType dtype, aclTensor *view, void **owned) {
    aclTensor from = *t;
    struct opening o = {.scales = NULL};
    float *numbers = NULL;
    void *copy = NULL;
    *owned = NULL;
    if (t->stride[1] != 1 && t->stride[0] != 1) HC_TRY(hc_contiguous(t, t->dtype, &from, &copy));
    /* Either dimension may be contiguous: products read both, and turning would cost a pass. */
    const int along = from.stride[1] == 1 ? 1 : 0;
    const size_t lines = (size_t)from.shape[1 - along];
    describe(&o, &from, along, dtype);
    aclnnStatus status = scales->t != NULL ? take_scales(name, scales, along == 1, &numbers) : 0;
    if (status == 0 && numbers != NULL) {
        o.scales = numbers;
        o.stretch = along == 1 ? scales->k : scales->rows;
        o.line_block = along == 1 ? scales->rows : scales->k;
        o.numbers = hc_numel(scales->t) / hc_max_size(hc_ceil_div(lines, o.line_block), 1);
        if (scales->t->rank == 3 && along == 0) o.numbers = (size_t)scales->t->shape[0];
    }
    if (status == 0) *owned = o.to = hc_block_take_array(lines, o.to_line);
    if (status == 0 && o.to == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %s", name, HC_SHOW(t));
    if (status == 0) {
        hc_parallel_for(lines, hc_max_size(GRAIN / hc_max_size(o.length, 1), 1), open_lines, &o);
        if (atomic_load(&o.failed))
            status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %s", name, HC_SHOW(t));
    }
    const int64_t shape[] = {(int64_t)lines, (int64_t)o.length};
    const aclTensor plain = hc_tensor_view(dtype, shape, 2, o.to);
    *view = along == 1 ? plain : hc_transpose_view(&plain, 0, 1);
    hc_block_give(numbers);
    hc_block_give(copy);
    return status;
}

/* ---- the product ---- */

/* For hc_gemm, with a run of a row. */
static void finish(void *ctx, size_t batch, size_t row, size_t col, size_t n, float *x) {
    const struct hc_narrow_product *p = ctx;
    float factor = p->row_scale != NULL ? p->row_scale[row % p->row_scales] : 1;
    (void)batch;
    /* One number for all columns joins the row's: one product less for each element. */
    if (p->column_scale != NULL && !p->column_each) factor *= p->column_scale[0];
    HC_DISPATCH(narrow_finish)
    (n, x, factor, p->column_each ? p->column_scale + col : NULL, p->bias != NULL ? p->bias + col : NULL);
}

/* Whether its blocks' scales are no powers of two. */
static bool is_wide(const struct hc_narrow_scales *s) { return s->t != NULL && s->t->dtype == ACL_FLOAT; }

/* By hc_gemm, in the order of additions that it has for these sizes. */
static aclnnStatus multiply(const struct hc_narrow_product *p, const aclTensor *a, const aclTensor *b,
                            const aclTensor *out) {
    const struct hc_gemm g = {
        .m = (size_t)a->shape[0],
        .n = (size_t)b->shape[0],
        .k = (size_t)a->shape[1],
        .a = {.data = hc_data(a), .dtype = a->dtype, .row = a->stride[0], .col = a->stride[1]},
        .b = {.data = hc_data(b), .dtype = b->dtype, .row = b->stride[1], .col = b->stride[0]},
        .out = {.data = hc_data(out), .dtype = out->dtype, .row = out->stride[0], .col = out->stride[1]},
        .alpha = HC_GEMM_REAL(1),
        .epilogue = p->row_scale != NULL || p->column_scale != NULL || p->bias != NULL ? finish : NULL,
        .epilogue_ctx = (void *)p};
    return hc_gemm(&g);
}

/* What is accumulated into is added behind the scales: the product goes into memory of its own. */
static aclnnStatus accumulate(const struct hc_narrow_product *p, const aclTensor *a, const aclTensor *b) {
    float *sums = hc_block_take_array(hc_numel(&p->out), sizeof *sums);
    HC_CHECK(sums != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %s", p->name, HC_SHOW(&p->out));
    const aclTensor product = hc_tensor_view(ACL_FLOAT, p->out.shape, p->out.rank, sums);
    aclTensor out;
    void *owned = NULL;
    aclnnStatus status = multiply(p, a, b, &product);
    if (status == 0) status = hc_contiguous(&p->out, ACL_FLOAT, &out, &owned);
    if (status == 0) {
        for (size_t i = 0; i < hc_numel(&out); i++) sums[i] += ((const float *)hc_data(&out))[i];
        status = hc_copy(&p->out, &product);
    }
    hc_block_give(owned);
    hc_block_give(sums);
    return status;
}

/* Both operands in one type, which is the product's fast case. */
aclnnStatus hc_narrow_product(const struct hc_narrow_product *p) {
    const aclDataType as = is_wide(&p->a_scales) || is_wide(&p->b_scales) ? ACL_FLOAT : ACL_BF16;
    aclTensor a, b;
    void *own_a = NULL, *own_b = NULL;
    if (p->out.numel == 0) return 0;
    aclnnStatus status = hc_narrow_open(p->name, &p->a, &p->a_scales, as, &a, &own_a);
    if (status == 0) status = hc_narrow_open(p->name, &p->b, &p->b_scales, as, &b, &own_b);
    if (status == 0) status = p->accumulate ? accumulate(p, &a, &b) : multiply(p, &a, &b, &p->out);
    hc_block_give(own_a);
    hc_block_give(own_b);
    return status;
}
#endif
