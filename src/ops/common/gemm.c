// SPDX-License-Identifier: Apache-2.0
/* First version: correct for everything, row by row. */
#include "gemm.h"

#include <string.h>

int hc_gemm_compute(aclDataType a, aclDataType b, aclDataType out) {
    const enum hc_block block = hc_compute_block(a);
    if (block == HC_B8 || hc_compute_block(b) != block || hc_compute_block(out) != block) return -1;
    return block;
}

static char *at(const struct hc_gemm_matrix *m, int64_t batch, size_t i, size_t j) {
    return (char *)m->data + (batch + (int64_t)i * m->row + (int64_t)j * m->col) * (int64_t)hc_dtype_size(m->dtype);
}

static void axpy(enum hc_block block, size_t n, void *y, const void *a, const void *x) {
    for (size_t i = 0; i < n; i++) {
        if (block == HC_F32) ((float *)y)[i] += *(const float *)a * ((const float *)x)[i];
        if (block == HC_F64) ((double *)y)[i] += *(const double *)a * ((const double *)x)[i];
        if (block == HC_I64) ((uint64_t *)y)[i] += *(const uint64_t *)a * ((const uint64_t *)x)[i];
        if (block == HC_C128) {
            const hc_c128 p = *(const hc_c128 *)a, q = ((const hc_c128 *)x)[i];
            hc_c128 *z = (hc_c128 *)y + i;
            *z = (hc_c128){z->re + p.re * q.re - p.im * q.im, z->im + p.re * q.im + p.im * q.re};
        }
    }
}

static void scale(enum hc_block block, size_t n, void *y, const aclScalar *s) {
    const hc_c128 c = hc_scalar_c128(s);
    for (size_t i = 0; i < n; i++) {
        if (block == HC_F32) ((float *)y)[i] *= (float)c.re;
        if (block == HC_F64) ((double *)y)[i] *= c.re;
        if (block == HC_I64) ((uint64_t *)y)[i] *= (uint64_t)hc_scalar_i64(s);
        if (block == HC_C128) {
            hc_c128 *z = (hc_c128 *)y + i;
            *z = (hc_c128){z->re * c.re - z->im * c.im, z->re * c.im + z->im * c.re};
        }
    }
}

struct rows {
    const struct hc_gemm *g;
    enum hc_block block;
    size_t batch;
    int64_t a, b, out, self;
};

static void run_rows(void *ctx, size_t begin, size_t end) {
    const struct rows *r = ctx;
    const struct hc_gemm *g = r->g;
    const size_t size = hc_block_size(r->block);
    char *acc = hc_scratch(HC_SCRATCH_GEMM_A, g->n * size), *x = hc_scratch(HC_SCRATCH_GEMM_B, g->n * size);
    hc_c128 factor;
    const union {
        float f32;
        double f64;
        int64_t i64;
        hc_c128 c128;
    } one = r->block == HC_F32   ? (__typeof__(one)){.f32 = 1}
            : r->block == HC_I64 ? (__typeof__(one)){.i64 = 1}
                                 : (__typeof__(one)){.c128 = {1, 0}};
    for (size_t i = begin; acc != NULL && x != NULL && i < end; i++) {
        memset(acc, 0, g->n * size);
        for (size_t k = 0; k < g->k; k++) {
            hc_load_for(g->a.dtype, r->block)(1, &factor, at(&g->a, r->a, i, k), 1);
            hc_load_for(g->b.dtype, r->block)(g->n, x, at(&g->b, r->b, k, 0), g->b.col);
            axpy(r->block, g->n, acc, &factor, x);
        }
        scale(r->block, g->n, acc, &g->alpha);
        const hc_c128 beta = hc_scalar_c128(&g->beta);
        if (g->self.data != NULL && (beta.re != 0 || beta.im != 0)) {
            hc_load_for(g->self.dtype, r->block)(g->n, x, at(&g->self, r->self, i, 0), g->self.col);
            scale(r->block, g->n, x, &g->beta);
            axpy(r->block, g->n, acc, &one, x);
        }
        if (g->epilogue != NULL) g->epilogue(g->epilogue_ctx, r->batch, i, 0, g->n, (float *)acc);
        hc_store_for(g->out.dtype, r->block)(g->n, at(&g->out, r->out, i, 0), g->out.col, acc);
    }
}

static int64_t batch_offset(const struct hc_gemm *g, const struct hc_gemm_matrix *m, size_t batch) {
    int64_t offset = 0;
    for (int d = g->batch_rank - 1; d >= 0; d--) {
        offset += (int64_t)(batch % (size_t)g->batch_shape[d]) * m->batch[d];
        batch /= (size_t)g->batch_shape[d];
    }
    return offset;
}

aclnnStatus hc_gemm(const struct hc_gemm *g) {
    const int block = hc_gemm_compute(g->a.dtype, g->b.dtype, g->out.dtype);
    HC_CHECK(block >= 0, ACLNN_ERR_PARAM_INVALID, "gemm: a is %s, b %s, out %s: they do not go together",
             hc_dtype_name(g->a.dtype), hc_dtype_name(g->b.dtype), hc_dtype_name(g->out.dtype));
    size_t batches = g->m > 0 && g->n > 0;
    for (int d = 0; d < g->batch_rank; d++) batches *= (size_t)g->batch_shape[d];
    for (size_t i = 0; i < batches; i++) {
        struct rows r = {g, (enum hc_block)block, i, batch_offset(g, &g->a, i), batch_offset(g, &g->b, i),
                         batch_offset(g, &g->out, i), batch_offset(g, &g->self, i)};
        hc_parallel_for(g->m, 16, run_rows, &r);
    }
    return 0;
}
