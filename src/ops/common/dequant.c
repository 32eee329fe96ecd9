// SPDX-License-Identifier: Apache-2.0
/* The loop of dequant.h: over a run of a row in the first-level cache, a pass for each operand there is. */
#include "dequant.h"

#ifdef HC_ISA
#include "simd.h"

void HC_FN(hc_dequant)(size_t n, float *y, const int32_t *sums, const struct hc_dequant *d) {
    const float scale = d->scale[0], factor = d->factor;
    if (d->whole_bias != NULL) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] =
            (float)(int32_t)((uint32_t)sums[i] + (uint32_t)d->whole_bias[i]);
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = (float)sums[i];
    }
    if (d->scale_each) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = y[i] * d->scale[i] * factor;
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = y[i] * scale * factor;
    }
    if (d->bias != NULL) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] += d->bias[i];
    }
    if (d->offset != NULL && d->offset_each) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] += d->offset[i];
    } else if (d->offset != NULL) {
        const float offset = d->offset[0];
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] += offset;
    }
}

/* Clipped first: what is left is rounded by the addition of a large number. */
void HC_FN(hc_round_i8)(size_t n, int8_t *y, const float *x) {
    const float magic = 0x1.8p23f;
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {
        const float inside = x[i] > 127 ? 127 : x[i] < -128 ? -128 : x[i];
        const float whole = (inside + magic) - magic;
        y[i] = (int8_t)(int32_t)(x[i] == x[i] ? whole : 0);
    }
}

#else
#include "gemm_i8.h"
#include "quant_param.h"

/* Sums that stay sums. */
static void store_sums(const struct hc_dequant *d, size_t n, const int32_t *sums, int32_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = (int32_t)((uint32_t)sums[i] + (d->whole_bias != NULL ? (uint32_t)d->whole_bias[i] : 0));
}

/* For hc_gemm_i8, with a run of a row: the sums are in the cache, and results are rounded once. */
void hc_dequant_finish(const void *ctx, size_t row, size_t col, size_t n, const int32_t *sums) {
    const struct hc_dequant_rows *r = ctx;
    const float factor = r->row_scale != NULL ? r->row_scale[row % r->row_scales] : 1;
    const struct hc_dequant by = hc_dequant_from(&r->by, col, factor);
    char *out = r->out + (row * r->n + col) * hc_dtype_size(r->dtype);
    float y[HC_GEMM_I8_RUN];
    if (r->dtype == ACL_INT32) {
        store_sums(&by, n, sums, (int32_t *)out);
        return;
    }
    HC_DISPATCH(hc_dequant)(n, y, sums, &by);
    if (r->activates) HC_DISPATCH(hc_activate)(n, y, r->activation);
    if (r->dtype == ACL_INT8) HC_DISPATCH(hc_round_i8)(n, (int8_t *)out, y);
    else hc_store_for(r->dtype, HC_F32)(n, out, 1, y);
}
/* Packed numbers as scales and, behind them, offsets; whether any offset is not 0. */
static aclnnStatus unpack(const aclTensor *scale, float *to, bool *carried) {
    const size_t n = hc_numel(scale);
    aclTensor plain;
    void *own = NULL;
    HC_TRY(hc_contiguous(scale, scale->dtype, &plain, &own));
    for (size_t i = 0; i < n; i++) {
        const uint64_t param = ((const uint64_t *)hc_data(&plain))[i];
        to[i] = hc_quant_param_scale(param);
        to[n + i] = hc_quant_param_offset(param);
        *carried = *carried || to[n + i] != 0;
    }
    hc_block_give(own);
    return 0;
}

/* Room for the scales, the offsets that packed scales carry, and offsets of their own: one piece of memory. A
 * packed offset counts before one of its own. */
aclnnStatus hc_dequant_scale(const aclTensor *scale, const aclTensor *offset, aclDataType result,
                             struct hc_dequant *d, void **owned) {
    const size_t n = hc_numel(scale), offsets = offset != NULL ? hc_numel(offset) : 0;
    float *to = hc_block_take_zeroed(2 * n + offsets, sizeof *to);
    bool carried = false;
    HC_CHECK(to != NULL, ACLNN_ERR_INNER, "out of host memory for %zu scales", n);
    *owned = to;
    d->scale = to;
    d->scale_each = n > 1;
    d->offset = NULL;
    if (hc_fits_f32(scale->dtype)) {
        const aclTensor copy = hc_tensor_view(ACL_FLOAT, scale->shape, scale->rank, to);
        HC_TRY(hc_copy(&copy, scale));
    } else {
        HC_TRY(unpack(scale, to, &carried));
    }
    if (result != ACL_INT8) return 0;
    d->offset = to + n;
    d->offset_each = n > 1;
    if (offset == NULL || carried) return 0;
    const aclTensor copy = hc_tensor_view(ACL_FLOAT, offset->shape, offset->rank, to + 2 * n);
    d->offset = to + 2 * n;
    d->offset_each = offsets > 1;
    return hc_copy(&copy, offset);
}
#endif
