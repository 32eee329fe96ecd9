// SPDX-License-Identifier: Apache-2.0
/* Packing and storing of float64, integers and complex, through the conversions of convert.h: panels and
 * tiles are those of the float family.
 *
 * Complex products are real ones: with rows [re,-im] and [im,re] of A over rows [re;im] of B, a product of 2m
 * x n x 2k gives the real and imaginary parts in alternate rows, with no arithmetic wasted. */
#include <string.h>

#include "gemm_product.h"

/* One panel, step by step through the conversions. */
static void pack_steps(const struct gemm_product *p, const struct gemm_pack *t) {
    hc_load_fn *load = hc_load_for(t->dtype, p->block);
    const int64_t size = (int64_t)hc_dtype_size(t->dtype);
    char *dst = t->dst;
    for (size_t k = 0; k < t->k; k++, dst += t->width * p->item) {
        load(t->valid, dst, (const char *)t->src + (int64_t)k * t->k_stride * size, t->width_stride);
        memset(dst + t->valid * p->item, 0, (t->width - t->valid) * p->item);
    }
}

/* One complex step is two real ones; see the head of this file. */
static void pack_complex(const struct gemm_pack *t, bool is_a) {
    hc_load_fn *load = hc_load_for(t->dtype, HC_C128);
    const int64_t size = (int64_t)hc_dtype_size(t->dtype);
    const size_t pair = is_a ? 2 : 1;
    double *dst = (double *)t->dst;
    for (size_t k = 0; k < t->k; k += 2, dst += 2 * t->width) {
        hc_c128 x[GEMM_MAX_TILE_BYTES / sizeof(hc_c128)];
        load(t->valid / pair, x, (const char *)t->src + (int64_t)(k / 2) * t->k_stride * size,
             t->width_stride);
        memset(dst, 0, 2 * t->width * sizeof(double));
        for (size_t i = 0; i < t->valid / pair; i++) {
            if (is_a) {
                dst[2 * i] = x[i].re, dst[t->width + 2 * i] = -x[i].im;
                dst[2 * i + 1] = x[i].im, dst[t->width + 2 * i + 1] = x[i].re;
            } else {
                dst[i] = x[i].re, dst[t->width + i] = x[i].im;
            }
        }
    }
}

void gemm_pack_block(const struct gemm_product *p, const struct gemm_pack *t, bool is_a) {
    const bool complex = p->block == HC_C128;
    const size_t step = complex && is_a ? t->width / 2 : t->width;
    for (size_t i = 0; i < t->panels; i++) {
        struct gemm_pack one = *t;
        one.src =
            (const char *)t->src + (int64_t)(i * step) * t->width_stride * (int64_t)hc_dtype_size(t->dtype);
        one.dst = t->dst + i * t->pitch;
        one.valid = hc_min_size(t->width, t->valid - i * t->width);
        if (complex) pack_complex(&one, is_a);
        else pack_steps(p, &one);
    }
}

/* x = alpha * x + beta * self over a row, in the block type. */
static void scale_row(const struct gemm_product *p, size_t n, void *x, const void *self) {
    const union hc_scalar_value a = p->g.alpha.value, b = p->g.beta.value;
    for (size_t j = 0; j < n; j++) {
        if (p->block == HC_F64) {
            double *y = (double *)x + j;
            *y = a.f * *y + (self ? b.f * ((const double *)self)[j] : 0);
        } else if (p->block == HC_I64) {
            uint64_t *y = (uint64_t *)x + j;
            *y = (uint64_t)a.i * *y + (self ? (uint64_t)b.i * ((const uint64_t *)self)[j] : 0);
        } else {
            hc_c128 *y = (hc_c128 *)x + j;
            const hc_c128 v = *y, s = self ? ((const hc_c128 *)self)[j] : (hc_c128){0, 0};
            *y = (hc_c128){a.c.re * v.re - a.c.im * v.im, a.c.re * v.im + a.c.im * v.re};
            if (self)
                *y = (hc_c128){y->re + b.c.re * s.re - b.c.im * s.im, y->im + b.c.re * s.im + b.c.im * s.re};
        }
    }
}

void gemm_add_block(enum hc_block block, size_t n, const void *x, const void *acc, void *out) {
    for (size_t j = 0; j < n; j++) {
        if (block == HC_I64)
            ((uint64_t *)out)[j] = ((const uint64_t *)x)[j] + (acc ? ((const uint64_t *)acc)[j] : 0);
        else ((double *)out)[j] = ((const double *)x)[j] + (acc ? ((const double *)acc)[j] : 0);
    }
}

/* What gemm_store_F32 does, for the other types. */
void gemm_store_block(const struct gemm_product *p, const struct gemm_store *s) {
    enum { MAX_COLS = 16 };
    const struct hc_gemm *g = s->g;
    const bool complex = p->block == HC_C128;
    const size_t step = complex ? 2 : 1;
    for (size_t i = 0; i < s->rows; i += step) {
        hc_c128 x[MAX_COLS], self[MAX_COLS];
        double part[2][MAX_COLS];
        for (size_t r = 0; r < step; r++) {
            const char *acc = s->acc ? (const char *)s->acc + (i + r) * s->ld_acc * p->item : NULL;
            gemm_add_block(p->block, s->cols, (const char *)s->tile + (i + r) * s->ld_tile * p->item, acc,
                           complex ? (void *)part[r] : x);
        }
        if (complex) {
            for (size_t j = 0; j < s->cols; j++) x[j] = (hc_c128){part[0][j], part[1][j]};
        }
        const int64_t row = (int64_t)(i / step);
        if (s->self != NULL) {
            hc_load_for(g->self.dtype, p->block)(
                s->cols, self, s->self + row * g->self.row * (int64_t)hc_dtype_size(g->self.dtype),
                g->self.col);
        }
        scale_row(p, s->cols, x, s->self != NULL ? self : NULL);
        hc_store_for(g->out.dtype, p->block)(
            s->cols, s->out + row * g->out.row * (int64_t)hc_dtype_size(g->out.dtype), g->out.col, x);
    }
}
