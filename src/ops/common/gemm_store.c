// SPDX-License-Identifier: Apache-2.0
/* The end of a tile of the float family: scale, add self, the caller's epilogue, round into out. Row by row
 * in a small buffer, while the tile is still in the first-level cache. */
#include "gemm_kernels.h"

#ifdef HC_ISA
#include "simd.h"

enum { MAX_COLS = 32 }; /* the widest register block */

/* x += beta * self over one row; x has room for whole vectors. */
static void add_self(size_t n, float *x, const void *self, aclDataType dtype, int64_t stride, float beta) {
    if (dtype == ACL_FLOAT && stride == 1) {
        const float *s = self;
        for (size_t j = 0; j < n; j++) x[j] += beta * s[j];
    } else if (dtype == ACL_BF16 && stride == 1) {
        const hc_bf16 *s = self;
        for (size_t j = 0; j < n; j++) x[j] += beta * hc_bf16_to_f32(s[j]);
    } else if (dtype == ACL_FLOAT) {
        for (size_t j = 0; j < n; j++) x[j] += beta * ((const float *)self)[(int64_t)j * stride];
    } else if (dtype == ACL_BF16) {
        for (size_t j = 0; j < n; j++)
            x[j] += beta * hc_bf16_to_f32(((const hc_bf16 *)self)[(int64_t)j * stride]);
    } else {
        for (size_t j = 0; j < n; j++)
            x[j] += beta * hc_f16_to_f32(((const hc_f16 *)self)[(int64_t)j * stride]);
    }
}

/* Rounding to nearest even. Strided outputs go one by one: only a product whose output is neither row-
 * nor column-major has them. */
static void store_row(size_t n, const float *x, void *out, aclDataType dtype, int64_t stride) {
    size_t j = 0;
    if (stride == 1 && dtype == ACL_FLOAT) {
        for (; j + HC_VL <= n; j += HC_VL) vf_store((float *)out + j, vf_load(x + j));
        if (j < n) vf_store_part((float *)out + j, vf_load(x + j), n - j);
        return;
    }
    if (stride == 1) {
        for (; j + HC_VL <= n; j += HC_VL) {
            if (dtype == ACL_BF16) vf_store_bf16((uint16_t *)out + j, vf_load(x + j));
            else vf_store_f16((uint16_t *)out + j, vf_load(x + j));
        }
    }
    for (; j < n; j++) {
        const int64_t at = (int64_t)j * stride;
        if (dtype == ACL_FLOAT) ((float *)out)[at] = x[j];
        else if (dtype == ACL_BF16) ((hc_bf16 *)out)[at] = hc_f32_to_bf16(x[j]);
        else ((hc_f16 *)out)[at] = hc_f32_to_f16(x[j]);
    }
}

/* Order: (tile + acc) * alpha, + beta * self, epilogue, one rounding. acc is read before out is written,
 * as it may be out. */
void HC_FN(gemm_store_F32)(const struct gemm_store *s) {
    const struct hc_gemm *g = s->g;
    const float alpha = (float)g->alpha.value.f, beta = (float)g->beta.value.f;
    const int64_t self_pitch = g->self.row * (g->self.dtype == ACL_FLOAT ? 4 : 2);
    const int64_t out_pitch = g->out.row * (g->out.dtype == ACL_FLOAT ? 4 : 2);
    for (size_t i = 0; i < s->rows; i++) {
        _Alignas(64) float x[MAX_COLS + HC_VL];
        const float *tile = (const float *)s->tile + i * s->ld_tile,
                    *acc = (const float *)s->acc + i * s->ld_acc;
        for (size_t j = 0; j < s->cols; j += HC_VL) {
            vf y = vf_load(tile + j);
            if (s->acc != NULL)
                y += s->cols - j >= HC_VL ? vf_load(acc + j) : vf_load_part(acc + j, s->cols - j);
            vf_store(x + j, alpha == 1 ? y : alpha * y);
        }
        if (s->self != NULL)
            add_self(s->cols, x, s->self + (int64_t)i * self_pitch, g->self.dtype, g->self.col, beta);
        if (g->epilogue != NULL) g->epilogue(g->epilogue_ctx, s->batch, s->row + i, s->col, s->cols, x);
        store_row(s->cols, x, s->out + (int64_t)i * out_pitch, g->out.dtype, g->out.col);
    }
}
#endif
