// SPDX-License-Identifier: Apache-2.0
/* Packing of float operands into panels, converting 16-bit floats on the way.
 *
 * Three layouts: contiguous across the panel (copy rows of vectors), contiguous along k (transpose square
 * blocks in registers), anything else (element by element). */
#include "gemm_kernels.h"

#ifdef HC_ISA
#include "gemm_load.h"
#include "simd_transpose.h"

/* HC_VL steps (or the `steps` left) of up to HC_VL rows that are contiguous along k. Vectors are stored whole
 * and in order: what one writes beyond the panel's width, the next overwrites. */
ALWAYS_INLINE void pack_square(const struct gemm_pack *p, size_t first, size_t k0, size_t steps,
                               aclDataType dtype) {
    const size_t rows = p->valid > first ? hc_min_size(p->valid - first, HC_VL) : 0;
    const char *src = element(p->src, (int64_t)first * p->width_stride + (int64_t)k0, dtype);
    const int64_t pitch = p->width_stride * (dtype == ACL_FLOAT ? 4 : 2);
    vf x[HC_VL];
    if (steps == HC_VL && rows == HC_VL) {
        _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) x[i] =
            load_vector(src + (int64_t)i * pitch, dtype);
    } else if (steps == HC_VL) {
        _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) x[i] =
            i < rows ? load_vector(src + (int64_t)i * pitch, dtype) : vf_zero();
    } else {
        for (size_t i = 0; i < HC_VL; i++)
            x[i] = i < rows ? load_some(src + (int64_t)i * pitch, steps, dtype) : vf_zero();
    }
    vf_transpose(x);
    float *dst = (float *)p->dst + k0 * p->width + first;
    if (steps == HC_VL) {
        _Pragma("GCC unroll 16") for (int i = 0; i < HC_VL; i++) vf_store(dst + (size_t)i * p->width, x[i]);
    } else {
        for (size_t i = 0; i < steps; i++) vf_store(dst + i * p->width, x[i]);
    }
}

/* The line that holds step k0 of each of the next panel's rows, once per line: a panel's rows are as many
 * streams of a few lines each, too short for the CPU to see them coming. */
ALWAYS_INLINE void prefetch_rows(const char *row, const struct gemm_pack *p, size_t k0, aclDataType dtype) {
    enum { LINE = 64 };
    const size_t at = k0 * (dtype == ACL_FLOAT ? 4 : 2);
    if (at % LINE != 0) return;
    const int64_t pitch = p->width_stride * (dtype == ACL_FLOAT ? 4 : 2);
    for (size_t i = 0; i < p->width; i++, row += pitch) __builtin_prefetch(row + at, 0, 2);
}

/* A panel of whole vectors: of each square's rows whole lines, or they would leave the first-level cache
 * half read where rows are a multiple of the page apart. */
ALWAYS_INLINE void pack_lines(const struct gemm_pack *p, aclDataType dtype) {
    const size_t line = GEMM_LINE / (dtype == ACL_FLOAT ? 4 : 2);
    const char *next = element(p->src, (int64_t)p->width * p->width_stride, dtype);
    for (size_t k0 = 0; k0 < p->k; k0 += line) {
        prefetch_rows(next, p, k0, dtype);
        for (size_t first = 0; first < p->width; first += HC_VL) {
            for (size_t k = k0; k < hc_min_size(k0 + line, p->k); k += HC_VL)
                pack_square(p, first, k, hc_min_size(p->k - k, HC_VL), dtype);
        }
    }
}

ALWAYS_INLINE void pack_along_k(const struct gemm_pack *p, aclDataType dtype) {
    /* Column blocks from right to left: the overrun of one falls on the next step's left block, written
     * later. */
    const size_t last = (p->width - 1) / HC_VL * HC_VL;
    const char *next = element(p->src, (int64_t)p->width * p->width_stride, dtype);
    if (p->width % HC_VL == 0) {
        pack_lines(p, dtype);
        return;
    }
    for (size_t k0 = 0; k0 < p->k; k0 += HC_VL) {
        const size_t steps = hc_min_size(p->k - k0, HC_VL);
        prefetch_rows(next, p, k0, dtype);
        for (size_t first = last + HC_VL; first > 0; first -= HC_VL)
            pack_square(p, first - HC_VL, k0, steps, dtype);
    }
}

/* A panel of whole vectors, VECTORS a step: a constant of each call, as is the dtype. */
ALWAYS_INLINE void pack_whole(const struct gemm_pack *p, int VECTORS, aclDataType dtype) {
    enum { AHEAD = 8 };
    const int64_t pitch = p->k_stride * (dtype == ACL_FLOAT ? 4 : 2);
    const char *src = p->src;
    float *dst = (float *)p->dst;
    for (size_t k = 0; k < p->k; k++, src += pitch, dst += VECTORS * HC_VL) {
        __builtin_prefetch(src + AHEAD * pitch);
        _Pragma("GCC unroll 4") for (int j = 0; j < VECTORS; j++)
            vf_store(dst + j * HC_VL, load_vector(element(src, j * HC_VL, dtype), dtype));
    }
}

/* Rows of k are contiguous across the panel: whole vectors, zeros where columns are missing; what a vector
 * writes beyond the panel's width, the next step overwrites. Several panels at a time, so that memory is read
 * in runs of lines, asked for some steps before. */
ALWAYS_INLINE void pack_across(const struct gemm_pack *p, aclDataType dtype) {
    enum { RUN = 128, AHEAD = 6, LINE = 64 };
    if (p->panels == 1 && p->valid == 2 * HC_VL && p->width == 2 * HC_VL) {
        pack_whole(p, 2, dtype);
        return;
    }
    const size_t group = hc_max_size(RUN / p->width, 1);
    const int64_t pitch = p->k_stride * (dtype == ACL_FLOAT ? 4 : 2);
    for (size_t first = 0; first < p->panels; first += group) {
        const size_t end = hc_min_size(first + group, p->panels);
        const size_t run = (end - first) * p->width * (dtype == ACL_FLOAT ? 4 : 2);
        const char *src = p->src;
        for (size_t k = 0; k < p->k; k++, src += pitch) {
            const char *ahead = element(src + AHEAD * pitch, (int64_t)(first * p->width), dtype);
            for (size_t i = 0; i < run; i += LINE) __builtin_prefetch(ahead + i);
            for (size_t i = first; i < end; i++) {
                const size_t origin = i * p->width, valid = p->valid - origin;
                float *dst = (float *)(p->dst + i * p->pitch) + k * p->width;
                for (size_t j = 0; j < p->width; j += HC_VL) {
                    const size_t n = valid > j ? hc_min_size(valid - j, HC_VL) : 0;
                    vf_store(dst + j, n > 0 ? load_some(element(src, (int64_t)(origin + j), dtype), n, dtype)
                                            : vf_zero());
                }
            }
        }
    }
}

/* Both strides above 1: views of views, rare enough. */
ALWAYS_INLINE void pack_any(const struct gemm_pack *p, aclDataType dtype) {
    for (size_t k = 0; k < p->k; k++) {
        float *dst = (float *)p->dst + k * p->width;
        for (size_t j = 0; j < p->width; j++) {
            const int64_t at = (int64_t)k * p->k_stride + (int64_t)j * p->width_stride;
            dst[j] = j < p->valid ? load_one(element(p->src, at, dtype), dtype) : 0.0f;
        }
    }
}

ALWAYS_INLINE void pack(const struct gemm_pack *p, aclDataType dtype) {
    if (p->width_stride == 1) {
        pack_across(p, dtype);
        return;
    }
    for (size_t i = 0; i < p->panels; i++) {
        const struct gemm_pack one = one_panel(p, i);
        if (p->k_stride == 1) pack_along_k(&one, dtype);
        else pack_any(&one, dtype);
    }
}

/* The dtype is a constant of each branch, so the conversion is inlined. */
void HC_FN(gemm_pack_F32)(const struct gemm_pack *p) {
    if (p->dtype == ACL_FLOAT) pack(p, ACL_FLOAT);
    else if (p->dtype == ACL_BF16) pack(p, ACL_BF16);
    else pack(p, ACL_FLOAT16);
}
#endif
