// SPDX-License-Identifier: Apache-2.0
/* Sum and mean over dimensions. Floats are added up in double: exact to the last place for any length, and no
 * slower than memory. */
#include "reduce.h"

HC_REDUCE_DECLARE(sum_F32)
HC_REDUCE_DECLARE(sum_F64)
HC_REDUCE_DECLARE(sum_I64)
HC_REDUCE_DECLARE(sum_C128)
HC_KERNEL(mean_F32_finish, (size_t n, void *const *out, const void *state, size_t count, const void *args))
HC_KERNEL(mean_F64_finish, (size_t n, void *const *out, const void *state, size_t count, const void *args))
HC_KERNEL(mean_C128_finish, (size_t n, void *const *out, const void *state, size_t count, const void *args))

#ifdef HC_ISA
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

#else
static const struct hc_reduce_kernels SUM_F32 = HC_REDUCE_KERNELS(sum_F32, double, HC_F32, 0);
static const struct hc_reduce_kernels SUM_F64 = HC_REDUCE_KERNELS(sum_F64, double, HC_F64, 0);
static const struct hc_reduce_kernels SUM_I64 = HC_REDUCE_KERNELS(sum_I64, int64_t, HC_I64, 0);
static const struct hc_reduce_kernels SUM_C128 = HC_REDUCE_KERNELS(sum_C128, hc_c128, HC_C128, 0, 0);
/* A mean is a sum with another end. */
#define MEAN_KERNELS(type, state_type, block)                                                                \
    {                                                                                                        \
        sum_##type##_row_table, sum_##type##_col_table, sum_##type##_join_table, mean_##type##_finish_table, \
            &(const state_type){0}, sizeof(state_type), {                                                    \
            block, block                                                                                     \
        }                                                                                                    \
    }
static const struct hc_reduce_kernels MEAN_F32 = MEAN_KERNELS(F32, double, HC_F32);
static const struct hc_reduce_kernels MEAN_F64 = MEAN_KERNELS(F64, double, HC_F64);
static const struct hc_reduce_kernels MEAN_C128 = MEAN_KERNELS(C128, hc_c128, HC_C128);

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
