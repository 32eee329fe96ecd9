// SPDX-License-Identifier: Apache-2.0
/* Row by row: a row of x and of the tables is brought into float, turned, and stored. Neighbouring rows
 * mostly share their tables (heads), so a table row is converted only when it changes. Cost: x read and
 * written once; the turn itself is two multiplications an element. */
#include "rotary.h"

#include <stdatomic.h>
#include <string.h>

HC_KERNEL(rotary_row, (int mode, size_t d, float *y, const float *x, const float *c, const float *s))
HC_KERNEL(rotary_row_grad, (int mode, size_t d, float *dx, const float *dy, const float *c, const float *s))
HC_KERNEL(rotary_row_table_grad, (int mode, size_t d, float *dc, float *ds, const float *dy, const float *x))

#ifdef HC_ISA
/* The three functions of a mode: forward, gradient of x, gradient of the tables. The gradient of a
 * rotation is the rotation back; c and s are taken where the forward used them, so tables need not repeat
 * their halves. */
static void half(size_t d, float *restrict y, const float *restrict x, const float *restrict c,
                 const float *restrict s) {
    const size_t h = d / 2;
    for (size_t j = 0; j < h; j++) {
        y[j] = x[j] * c[j] - x[j + h] * s[j];
        y[j + h] = x[j + h] * c[j + h] + x[j] * s[j + h];
    }
}
/* As a matrix, a pair turns by [c, -s; s', c']: this is the transposed one, c' and s' being those of the
 * second half. */
static void half_grad(size_t d, float *restrict dx, const float *restrict dy, const float *restrict c,
                      const float *restrict s) {
    const size_t h = d / 2;
    for (size_t j = 0; j < h; j++) {
        dx[j] = dy[j] * c[j] + dy[j + h] * s[j + h];
        dx[j + h] = dy[j + h] * c[j + h] - dy[j] * s[j];
    }
}
/* Added to what is there: a table's row gets a term from every row of x that it turned. */
static void half_table_grad(size_t d, float *restrict dc, float *restrict ds, const float *restrict dy,
                            const float *restrict x) {
    const size_t h = d / 2;
    for (size_t j = 0; j < h; j++) {
        dc[j] += dy[j] * x[j];
        dc[j + h] += dy[j + h] * x[j + h];
        ds[j] -= dy[j] * x[j + h];
        ds[j + h] += dy[j + h] * x[j];
    }
}

/* The switch is outside the loops, one test a row. y is not x: turn_rows has a buffer for each. */
void HC_FN(rotary_row)(int mode, size_t d, float *y, const float *x, const float *c, const float *s) {
    const size_t h = d / 2;
    switch (mode) {
    case ROTARY_HALF: half(d, y, x, c, s); break;
    case ROTARY_QUARTER:
        half(h, y, x, c, s);
        half(h, y + h, x + h, c + h, s + h);
        break;
    case ROTARY_INTERLEAVE:
        for (size_t j = 0; j < d; j += 2) {
            const float a = x[j], b = x[j + 1];
            y[j] = a * c[j] - b * s[j];
            y[j + 1] = b * c[j + 1] + a * s[j + 1];
        }
        break;
    default:
        for (size_t j = 0; j < h; j++) {
            const float a = x[2 * j], b = x[2 * j + 1];
            y[j] = a * c[j] - b * s[j];
            y[j + h] = b * c[j + h] + a * s[j + h];
        }
    }
}

/* Where the forward wrote j and j + h from a pair, this reads j and j + h back into it. */
void HC_FN(rotary_row_grad)(int mode, size_t d, float *dx, const float *dy, const float *c, const float *s) {
    const size_t h = d / 2;
    switch (mode) {
    case ROTARY_HALF: half_grad(d, dx, dy, c, s); break;
    case ROTARY_QUARTER:
        half_grad(h, dx, dy, c, s);
        half_grad(h, dx + h, dy + h, c + h, s + h);
        break;
    case ROTARY_INTERLEAVE:
        for (size_t j = 0; j < d; j += 2) {
            const float a = dy[j], b = dy[j + 1];
            dx[j] = a * c[j] + b * s[j + 1];
            dx[j + 1] = b * c[j + 1] - a * s[j];
        }
        break;
    default:
        for (size_t j = 0; j < h; j++) {
            const float a = dy[j], b = dy[j + h];
            dx[2 * j] = a * c[j] + b * s[j + h];
            dx[2 * j + 1] = b * c[j + h] - a * s[j];
        }
    }
}

void HC_FN(rotary_row_table_grad)(int mode, size_t d, float *dc, float *ds, const float *dy, const float *x) {
    const size_t h = d / 2;
    switch (mode) {
    case ROTARY_HALF: half_table_grad(d, dc, ds, dy, x); break;
    case ROTARY_QUARTER:
        half_table_grad(h, dc, ds, dy, x);
        half_table_grad(h, dc + h, ds + h, dy + h, x + h);
        break;
    case ROTARY_INTERLEAVE:
        for (size_t j = 0; j < d; j += 2) {
            dc[j] += dy[j] * x[j];
            dc[j + 1] += dy[j + 1] * x[j + 1];
            ds[j] -= dy[j] * x[j + 1];
            ds[j + 1] += dy[j + 1] * x[j];
        }
        break;
    default:
        for (size_t j = 0; j < h; j++) {
            const float a = x[2 * j], b = x[2 * j + 1];
            dc[j] += dy[j] * a;
            dc[j + h] += dy[j + h] * b;
            ds[j] -= dy[j] * b;
            ds[j + h] += dy[j + h] * a;
        }
    }
}

#else
#include "messages.h"

/* Elements that one piece of work handles, so that short rows do not pay for being handed out. */
enum { GRAIN = 16 * 1024 };

/* Dimension by dimension, size 1 or the same: tables are [S, 1, 1, D] or the like. */
static aclnnStatus check_table(const char *name, const aclTensor *x, const aclTensor *t, const char *what,
                               bool partial) {
    HC_CHECK(t->rank == x->rank, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, x is %s: wanted as many dimensions",
             name, what, HC_SHOW(t), HC_SHOW(x));
    for (int32_t d = 0; d + 1 < x->rank; d++) {
        HC_CHECK(t->shape[d] == 1 || t->shape[d] == x->shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, which does not broadcast to x %s", name, what, HC_SHOW(t), HC_SHOW(x));
    }
    const int64_t have = t->shape[t->rank - 1], want = x->shape[x->rank - 1];
    HC_CHECK(have == want || (partial && have < want), ACLNN_ERR_PARAM_INVALID,
             "%s: the last dimension of %s is %lld, wanted %lld", name, what, (long long)have,
             (long long)want);
    return 0;
}

aclnnStatus rotary_check(const char *name, const aclTensor *x, const aclTensor *cos, const aclTensor *sin,
                         const aclTensor *out, int64_t mode, bool partial) {
    HC_CHECK(x && cos && sin && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !x     ? hc_tensor_name(name, 0)
             : !cos ? "cos"
             : sin  ? "the output"
                    : "sin");
    HC_CHECK(hc_fits_f32(x->dtype) && hc_fits_f32(cos->dtype) && hc_fits_f32(sin->dtype) &&
                 hc_fits_f32(out->dtype),
             ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, cos %s, sin %s, out %s: wanted float32, float16 or bfloat16", name, HC_SHOW(x),
             HC_SHOW(cos), HC_SHOW(sin), HC_SHOW(out));
    HC_CHECK(x->rank >= 1 && hc_same_shape(x, out), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, x is %s, wanted the same shape", name, HC_SHOW(out), HC_SHOW(x));
    HC_CHECK(mode >= ROTARY_HALF && mode <= ROTARY_INTERLEAVE_HALF, ACLNN_ERR_PARAM_INVALID,
             "%s: mode is %lld, wanted 0 (half), 1 (interleave), 2 (quarter) or 3 (interleave-half)", name,
             (long long)mode);
    HC_TRY(check_table(name, x, cos, "cos", partial));
    HC_TRY(check_table(name, x, sin, "sin", partial));
    HC_CHECK(hc_same_shape(cos, sin), ACLNN_ERR_PARAM_INVALID, "%s: cos is %s, sin is %s", name, HC_SHOW(cos),
             HC_SHOW(sin));
    const int64_t d = cos->shape[cos->rank - 1], unit = mode == ROTARY_QUARTER ? 4 : 2;
    HC_CHECK(d % unit == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: the last dimension is %lld, mode %lld needs a multiple of %lld", name, (long long)d,
             (long long)mode, (long long)unit);
    return 0;
}

/* A dimension of size 1 in a tensor and not in the first one repeats: stride 0. */
void rotary_rows_init(struct rotary_rows *rows, const aclTensor *const *tensors, int num) {
    rows->rank = tensors[0]->rank - 1;
    rows->num = num;
    rows->count = 1;
    for (int d = 0; d < rows->rank; d++) {
        rows->shape[d] = tensors[0]->shape[d];
        rows->count *= (size_t)rows->shape[d];
    }
    for (int k = 0; k < num; k++) {
        const aclTensor *t = tensors[k];
        rows->data[k] = hc_data(t);
        for (int d = 0; d < rows->rank; d++) {
            rows->stride[k][d] = t->shape[d] == 1 && rows->shape[d] != 1 ? 0 : t->stride[d] * t->item_size;
        }
    }
}

/* Divisions by the shape, one a dimension: small against a row of 64 elements or more. */
void rotary_rows_at(const struct rotary_rows *rows, size_t index, char **at) {
    memcpy(at, rows->data, sizeof rows->data);
    for (int d = rows->rank - 1; d >= 0; d--) {
        const int64_t i = (int64_t)(index % (size_t)rows->shape[d]);
        index /= (size_t)rows->shape[d];
        for (int k = 0; k < rows->num; k++) at[k] += i * rows->stride[k][d];
    }
}

/* One run: shared by the pool's threads, read-only but for `failed`. */
struct turn {
    struct rotary_rows rows; /* x, cos, sin, out */
    rotary_row_fn *kernel;
    int mode;
    size_t d, whole; /* turned elements of a row, all elements */
    hc_load_fn *load[3];
    hc_store_fn *store;
    int64_t stride[4]; /* of the last dimension, in elements */
    atomic_bool failed;
};

/* Rows [begin, end). What lies behind the turned elements is copied. */
static void turn_rows(void *ctx, size_t begin, size_t end) {
    struct turn *t = ctx;
    float *x = hc_scratch(HC_SCRATCH_A, 4 * t->whole * sizeof(float));
    if (x == NULL) {
        atomic_store(&t->failed, true);
        return;
    }
    float *y = x + t->whole, *c = y + t->whole, *s = c + t->whole;
    const char *last_c = NULL, *last_s = NULL;
    for (size_t row = begin; row < end; row++) {
        char *at[ROTARY_MAX_ROWS];
        rotary_rows_at(&t->rows, row, at);
        t->load[0](t->whole, x, at[0], t->stride[0]);
        if (at[1] != last_c) t->load[1](t->d, c, last_c = at[1], t->stride[1]);
        if (at[2] != last_s) t->load[2](t->d, s, last_s = at[2], t->stride[2]);
        t->kernel(t->mode, t->d, y, x, c, s);
        memcpy(y + t->d, x + t->d, (t->whole - t->d) * sizeof(float));
        t->store(t->whole, at[3], t->stride[3], y);
    }
}

/* A piece that has no scratch sets `failed`: it cannot return an error. */
static aclnnStatus turn(rotary_row_fn *kernel, const aclTensor *x, const aclTensor *cos, const aclTensor *sin,
                        const aclTensor *out, int mode) {
    if (x->numel == 0) return 0;
    const aclTensor *tensors[] = {x, cos, sin, out};
    struct turn t = {.kernel = kernel,
                     .mode = mode,
                     .d = (size_t)cos->shape[cos->rank - 1],
                     .whole = (size_t)x->shape[x->rank - 1],
                     .store = hc_store_for(out->dtype, HC_F32)};
    rotary_rows_init(&t.rows, tensors, 4);
    for (int k = 0; k < 4; k++) t.stride[k] = tensors[k]->stride[tensors[k]->rank - 1];
    for (int k = 0; k < 3; k++) t.load[k] = hc_load_for(tensors[k]->dtype, HC_F32);
    hc_parallel_for(t.rows.count, hc_max_size(1, GRAIN / t.whole), turn_rows, &t);
    HC_CHECK(!atomic_load(&t.failed), ACLNN_ERR_INNER, "out of host memory for a row of %zu", t.whole);
    return 0;
}

aclnnStatus rotary_forward(const aclTensor *x, const aclTensor *cos, const aclTensor *sin,
                           const aclTensor *out, int mode) {
    return turn(HC_DISPATCH(rotary_row), x, cos, sin, out, mode);
}

aclnnStatus rotary_backward(const aclTensor *dy, const aclTensor *cos, const aclTensor *sin,
                            const aclTensor *dx, int mode) {
    return turn(HC_DISPATCH(rotary_row_grad), dy, cos, sin, dx, mode);
}

/* A row of the tables for each piece of work, summed over all rows of x that used it. */
struct table_grad {
    struct rotary_rows tables; /* dcos, dsin, and dy, x with the repeated dimensions left out */
    struct rotary_rows inner;  /* dy, x over the repeated dimensions */
    int mode;
    size_t d;
    hc_load_fn *load[2];
    hc_store_fn *store[2];
    int64_t stride[4];
    atomic_bool failed;
};

/* Sums in float, in the order of the rows: fixed by the shape. */
static void table_rows(void *ctx, size_t begin, size_t end) {
    struct table_grad *t = ctx;
    const size_t d = t->d;
    float *dc = hc_scratch(HC_SCRATCH_A, 4 * d * sizeof(float));
    if (dc == NULL) {
        atomic_store(&t->failed, true);
        return;
    }
    float *ds = dc + d, *dy = ds + d, *x = dy + d;
    for (size_t row = begin; row < end; row++) {
        char *at[ROTARY_MAX_ROWS], *from[ROTARY_MAX_ROWS];
        rotary_rows_at(&t->tables, row, at);
        memset(dc, 0, 2 * d * sizeof(float));
        for (size_t i = 0; i < t->inner.count; i++) {
            rotary_rows_at(&t->inner, i, from);
            t->load[0](d, dy, at[2] + (from[0] - t->inner.data[0]), t->stride[2]);
            t->load[1](d, x, at[3] + (from[1] - t->inner.data[1]), t->stride[3]);
            HC_DISPATCH(rotary_row_table_grad)(t->mode, d, dc, ds, dy, x);
        }
        t->store[0](d, at[0], t->stride[0], dc);
        t->store[1](d, at[1], t->stride[1], ds);
    }
}

/* The dimensions of x split in two: those that the tables have, over which pieces of work are handed out,
 * and those in which they repeat, over which a piece sums. No two pieces write one row, so no locks and
 * no order to keep. */
aclnnStatus rotary_table_backward(const aclTensor *dy, const aclTensor *x, const aclTensor *dcos,
                                  const aclTensor *dsin, int mode) {
    if (dcos->numel == 0) return 0;
    const aclTensor *all[] = {dcos, dsin, dy, x};
    aclTensor outer[2] = {*dy, *x}, repeated[2] = {*dy, *x};
    for (int k = 0; k < 2; k++) {
        for (int32_t d = 0; d + 1 < dy->rank; d++) {
            if (dcos->shape[d] == 1) outer[k].shape[d] = 1;
            else repeated[k].shape[d] = 1;
        }
    }
    struct table_grad t = {.mode = mode,
                           .d = (size_t)dcos->shape[dcos->rank - 1],
                           .load = {hc_load_for(dy->dtype, HC_F32), hc_load_for(x->dtype, HC_F32)},
                           .store = {hc_store_for(dcos->dtype, HC_F32), hc_store_for(dsin->dtype, HC_F32)}};
    for (int k = 0; k < 4; k++) t.stride[k] = all[k]->stride[all[k]->rank - 1];
    rotary_rows_init(&t.tables, (const aclTensor *[]){dcos, dsin, &outer[0], &outer[1]}, 4);
    rotary_rows_init(&t.inner, (const aclTensor *[]){&repeated[0], &repeated[1]}, 2);
    hc_parallel_for(t.tables.count, hc_max_size(1, GRAIN / (t.d * t.inner.count + 1)), table_rows, &t);
    HC_CHECK(!atomic_load(&t.failed), ACLNN_ERR_INNER, "out of host memory for a row of %zu", t.d);
    return 0;
}
#endif
