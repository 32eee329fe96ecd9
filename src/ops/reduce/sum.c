// SPDX-License-Identifier: Apache-2.0
/* Sum and mean over dimensions. Floats are added up in double: exact to the last place for any length, and no
 * slower than memory; bfloat16 in short runs of floats that are added up in double. */
#include "reduce.h"

HC_REDUCE_DECLARE(sum_F32)
HC_REDUCE_DECLARE(sum_F64)
HC_REDUCE_DECLARE(sum_I64)
HC_REDUCE_DECLARE(sum_C128)
HC_KERNEL(sum_BF16_row, (size_t n, void *state, const void *x, size_t index, const void *args))
HC_KERNEL(sum_BF16_col,
          (size_t rows, size_t cols, void *state, const void *x, size_t pitch, const void *args))
HC_KERNEL(mean_F32_finish, (size_t n, void *const *out, const void *state, size_t count, const void *args))
HC_KERNEL(mean_F64_finish, (size_t n, void *const *out, const void *state, size_t count, const void *args))
HC_KERNEL(mean_C128_finish, (size_t n, void *const *out, const void *state, size_t count, const void *args))

#ifdef HC_ISA
#include "simd_rows.h"

/* 32 doubles side by side are four vectors of the widest set: enough additions in flight to keep up with
 * memory. */
#define ADD(s, x, args) ((s) + (x))
#define JOIN(a, b) ((a) + (b))
/* Integers wrap, as in PyTorch. */
static inline int64_t join_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
#define ADD_I64(s, x, args) join_i64(s, x)
static inline hc_c128 join_c128(hc_c128 a, hc_c128 b) { return (hc_c128){a.re + b.re, a.im + b.im}; }
#define ADD_C128(s, x, args) join_c128(s, x)
#define ZERO_C128 ((hc_c128){0, 0})
HC_REDUCE_BODY(sum_F32, float, double, 32, 0, ADD, JOIN)
HC_REDUCE_BODY(sum_F64, double, double, 32, 0, ADD, JOIN)
HC_REDUCE_BODY(sum_I64, int64_t, int64_t, 32, 0, ADD_I64, join_i64)
HC_REDUCE_BODY(sum_C128, hc_c128, hc_c128, 8, ZERO_C128, ADD_C128, join_c128)
#define SAME(s, count, args) (s)
HC_REDUCE_FINISH_CAST(sum_F32, double, float)
HC_REDUCE_FINISH_CAST(sum_F64, double, double)
HC_REDUCE_FINISH_CAST(sum_I64, int64_t, int64_t)
HC_REDUCE_FINISH(sum_C128, hc_c128, hc_c128, SAME)
#define MEAN_F32(s, count, args) ((float)((s) / (double)(count)))
#define MEAN_F64(s, count, args) ((s) / (double)(count))
#define MEAN_C128(s, count, args) ((hc_c128){(s).re / (double)(count), (s).im / (double)(count)})
HC_REDUCE_FINISH(mean_F32, double, float, MEAN_F32)
HC_REDUCE_FINISH(mean_F64, double, double, MEAN_F64)
HC_REDUCE_FINISH(mean_C128, hc_c128, hc_c128, MEAN_C128)

/* 2 HC_VL values of bfloat16 as words; those at even and at odd places, widened. */
static inline vu load_words(const uint16_t *p) { return (vu) * (const vi_unaligned *)p; }
static inline vf even(vu x) { return (vf)(x << 16); }
static inline vf odd(vu x) { return (vf)(x & 0xffff0000u); }
/* bfloat16 is widened by a shift, two numbers of a word apart, and added in floats within a block of 1024, in
 * double between blocks: a conversion to double for each would take twice the time of reading it. */
static inline double block_sum(const uint16_t *x, size_t n) {
    vf sum[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    size_t i = 0;
    for (; i + 4 * HC_VL <= n; i += 4 * HC_VL) {
        const vu a = load_words(x + i), b = load_words(x + i + 2 * HC_VL);
        sum[0] += even(a);
        sum[1] += odd(a);
        sum[2] += even(b);
        sum[3] += odd(b);
    }
    for (; i + HC_VL <= n; i += HC_VL) sum[0] += vf_load_bf16(x + i);
    if (i < n) sum[1] += vf_load_bf16_part(x + i, n - i);
    return vf_sum4(sum);
}
void HC_FN(sum_BF16_row)(size_t n, void *state, const void *x, size_t index, const void *args) {
    const uint16_t *v = x;
    double sum = 0;
    (void)index;
    (void)args;
    for (size_t i = 0; i < n; i += HC_ROW_BLOCK) sum += block_sum(v + i, hc_min_size(HC_ROW_BLOCK, n - i));
    *(double *)state += sum;
}
static inline float widen(uint16_t x) { return hc_bits_f32((uint32_t)x << 16); }
/* Four rows make one float before they meet the double. */
void HC_FN(sum_BF16_col)(size_t rows, size_t cols, void *state, const void *x, size_t pitch,
                         const void *args) {
    const uint16_t *v = x;
    double *s = state;
    size_t r = 0;
    (void)args;
    for (; r + 4 <= rows; r += 4, v += 4 * pitch) {
        const uint16_t *v1 = v + pitch, *v2 = v1 + pitch, *v3 = v2 + pitch;
        _Pragma("GCC ivdep") for (size_t c = 0; c < cols; c++) {
            s[c] += (double)((widen(v[c]) + widen(v1[c])) + (widen(v2[c]) + widen(v3[c])));
        }
    }
    for (; r < rows; r++, v += pitch) {
        _Pragma("GCC ivdep") for (size_t c = 0; c < cols; c++) s[c] += (double)widen(v[c]);
    }
}

#else
#define BF16 .bf16_row = sum_BF16_row_table, .bf16_col = sum_BF16_col_table
static const struct hc_reduce_kernels SUM_F32 = {HC_REDUCE_FIELDS(sum_F32, sum_F32, double, HC_F32, 0), BF16};
static const struct hc_reduce_kernels SUM_F64 = HC_REDUCE_KERNELS(sum_F64, double, HC_F64, 0);
static const struct hc_reduce_kernels SUM_I64 = HC_REDUCE_KERNELS(sum_I64, int64_t, HC_I64, 0);
static const struct hc_reduce_kernels SUM_C128 = HC_REDUCE_KERNELS(sum_C128, hc_c128, HC_C128, 0, 0);
/* A mean is a sum with another end. */
static const struct hc_reduce_kernels MEAN_F32 = {HC_REDUCE_FIELDS(sum_F32, mean_F32, double, HC_F32, 0),
                                                  BF16};
static const struct hc_reduce_kernels MEAN_F64 = {HC_REDUCE_FIELDS(sum_F64, mean_F64, double, HC_F64, 0)};
static const struct hc_reduce_kernels MEAN_C128 = {
    HC_REDUCE_FIELDS(sum_C128, mean_C128, hc_c128, HC_C128, 0)};

/* The mean has no integers: the client asks for a float dtype, as PyTorch wants one. */
static const struct hc_reduce SUM = {
    "aclnnReduceSum",
    false,
    {[HC_F32] = &SUM_F32, [HC_F64] = &SUM_F64, [HC_I64] = &SUM_I64, [HC_C128] = &SUM_C128}};
static const struct hc_reduce MEAN = {
    "aclnnMean", false, {[HC_F32] = &MEAN_F32, [HC_F64] = &MEAN_F64, [HC_C128] = &MEAN_C128}};

aclnnStatus hc_reduce_sum(const aclTensor *self, uint32_t mask, bool mean, const aclTensor *out) {
    return hc_reduce_run(mean ? &MEAN : &SUM, hc_compute_block(self->dtype), self, mask, out, NULL, NULL);
}

/* Values are converted to `dtype` first; in double if that or the input is double. */
static aclnnStatus plan(const struct hc_reduce *op, const aclTensor *self, struct hc_dims dims,
                        aclDataType dtype, const aclTensor *out, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, self ? "out" : "self");
    HC_CHECK(hc_dtype_size(dtype) > 0, ACLNN_ERR_PARAM_INVALID, "%s: dtype is %s", op->name,
             hc_dtype_name(dtype));
    aclDataType in = dtype;
    if (hc_dtype_is_float(dtype) && self->dtype == ACL_DOUBLE) in = ACL_DOUBLE;
    return hc_reduce_plan(op, hc_compute_block(in), self, dims, out, NULL, NULL, 0, workspaceSize, executor);
}

/* torch.sum(self, dim, keepdim, dtype); no dims: over all. bool counts its true elements. */
HC_API aclnnStatus aclnnReduceSumGetWorkspaceSize(const aclTensor *self, const aclIntArray *dims,
                                                  bool keepDims, aclDataType dtype, aclTensor *out,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&SUM, self, hc_dims(dims, keepDims), dtype, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnReduceSum)

/* torch.mean(self, dim, keepdim, dtype), into a float or complex type. Divided in double, so the result
 * is rounded once. Of no elements it is NaN. */
HC_API aclnnStatus aclnnMeanGetWorkspaceSize(const aclTensor *self, const aclIntArray *dim, bool keepDim,
                                             aclDataType dtype, aclTensor *out, uint64_t *workspaceSize,
                                             aclOpExecutor **executor) {
    return plan(&MEAN, self, hc_dims(dim, keepDim), dtype, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMean)
#endif
