// SPDX-License-Identifier: Apache-2.0
/* Product of all elements or along a dimension; floats in double, so partial products neither over- nor
 * underflow where the result does not. */
#include "reduce.h"

HC_REDUCE_DECLARE(prod_F32)
HC_REDUCE_DECLARE(prod_F64)
HC_REDUCE_DECLARE(prod_I64)
HC_REDUCE_DECLARE(prod_C128)

#ifdef HC_ISA
/* 32 partial products side by side, joined by halves: the order is fixed, as for sums. */
#define MUL(s, x, args) ((s) * (x))
#define JOIN(a, b) ((a) * (b))
static inline int64_t join_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
#define MUL_I64(s, x, args) join_i64(s, x)
static inline hc_c128 join_c128(hc_c128 a, hc_c128 b) {
    return (hc_c128){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
#define MUL_C128(s, x, args) join_c128(s, x)
#define ONE_C128 ((hc_c128){1, 0})
#define SAME(s, count, args) (s)
HC_REDUCE_BODY(prod_F32, float, double, 32, 1, MUL, JOIN)
HC_REDUCE_BODY(prod_F64, double, double, 32, 1, MUL, JOIN)
HC_REDUCE_BODY(prod_I64, int64_t, int64_t, 32, 1, MUL_I64, join_i64)
HC_REDUCE_BODY(prod_C128, hc_c128, hc_c128, 8, ONE_C128, MUL_C128, join_c128)
HC_REDUCE_FINISH_CAST(prod_F32, double, float)
HC_REDUCE_FINISH_CAST(prod_F64, double, double)
HC_REDUCE_FINISH_CAST(prod_I64, int64_t, int64_t)
HC_REDUCE_FINISH(prod_C128, hc_c128, hc_c128, SAME)

#else
static const struct hc_reduce_kernels PROD_F32 = HC_REDUCE_KERNELS(prod_F32, double, HC_F32, 1);
static const struct hc_reduce_kernels PROD_F64 = HC_REDUCE_KERNELS(prod_F64, double, HC_F64, 1);
static const struct hc_reduce_kernels PROD_I64 = HC_REDUCE_KERNELS(prod_I64, int64_t, HC_I64, 1);
static const struct hc_reduce_kernels PROD_C128 = HC_REDUCE_KERNELS(prod_C128, hc_c128, HC_C128, 1, 0);
#define KERNELS {[HC_F32] = &PROD_F32, [HC_F64] = &PROD_F64, [HC_I64] = &PROD_I64, [HC_C128] = &PROD_C128}
/* Two operators, which messages tell apart. */
static const struct hc_reduce PROD = {"aclnnProd", false, KERNELS};
static const struct hc_reduce PROD_DIM = {"aclnnProdDim", false, KERNELS};

/* Values are converted to `dtype` first, as in sums. The product of no values is 1. */
static aclnnStatus plan(const struct hc_reduce *op, const aclTensor *self, struct hc_dims dims,
                        aclDataType dtype, const aclTensor *out, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(hc_dtype_size(dtype) > 0, ACLNN_ERR_PARAM_INVALID, "%s: dtype is %s", op->name,
             hc_dtype_name(dtype));
    return hc_reduce_plan(op, hc_compute_block(dtype), self, dims, out, NULL, NULL, 0, workspaceSize,
                          executor);
}

/* torch.prod(self, dtype), and along one dimension below: PyTorch has no product over several. */
HC_API aclnnStatus aclnnProdGetWorkspaceSize(const aclTensor *self, const aclDataType dtype, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&PROD, self, hc_dims(NULL, false), dtype, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnProd)

HC_API aclnnStatus aclnnProdDimGetWorkspaceSize(const aclTensor *self, int64_t dim, bool keepDim,
                                                const aclDataType dtype, aclTensor *out,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&PROD_DIM, self, (struct hc_dims){&dim, 1, keepDim}, dtype, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnProdDim)
#endif
