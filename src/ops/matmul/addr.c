// SPDX-License-Identifier: Apache-2.0
/* out = beta * self + alpha * outer(vec1, vec2), element by element. A factor that is null is 1; where beta
 * is 0 self does not count, not even its NaN. Of truth values: (beta and self) or (alpha and vec1 and vec2).
 */
#include "elementwise.h"

HC_EW_KERNELS_ALL(addr)
HC_EW_KERNEL(addr_truth)

/* Both numbers in every type, so that a kernel takes its own. */
struct args {
    struct hc_ew_scalar beta, alpha;
    bool has_self, has_product; /* the factors as truth values */
};

#ifdef HC_ISA
#include "complex_math.h"

#define MUL(a, b) ((a) * (b))
#define ADD(a, b) ((a) + (b))
#define ADDR(block, mul, add)                                                                                \
    void HC_FN(addr_##block)(size_t n, void *const *out, const void *const *in, const void *args) {          \
        const struct args *f = args;                                                                         \
        const hc_block_##block *self = in[0], *a = in[1], *b = in[2], alpha = f->alpha.block,                \
                               beta = f->beta.block;                                                         \
        hc_block_##block *y = out[0];                                                                        \
        if (f->has_self) {                                                                                   \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] =                                       \
                add(mul(beta, self[i]), mul(alpha, mul(a[i], b[i])));                                        \
        } else {                                                                                             \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = mul(alpha, mul(a[i], b[i]));          \
        }                                                                                                    \
    }
ADDR(F32, MUL, ADD)
ADDR(F64, MUL, ADD)
ADDR(I64, MUL, ADD)
ADDR(C128, hc_cmul, hc_cadd)

/* bool is computed as int64, 0 or 1. */
void HC_FN(addr_truth)(size_t n, void *const *out, const void *const *in, const void *args) {
    const struct args *f = args;
    const int64_t *self = in[0], *a = in[1], *b = in[2];
    int64_t *y = out[0];
    for (size_t i = 0; i < n; i++) y[i] = (f->has_self && self[i]) || (f->has_product && a[i] && b[i]);
}
#else
static const struct hc_ew NUMBERS = {"aclnnAddr", HC_EW_TABLE_ALL(addr), 0, 0};
static const struct hc_ew TRUTH = {"aclnnAddr", {[HC_I64] = addr_truth_table}, 0, 0};

/* *value becomes 1 for null. *counts: whether it is not 0, which for self decides if it is read at all. */
static aclnnStatus read_factor(const char *name, const char *factor, const aclScalar *s, bool integers,
                               struct hc_ew_scalar *value, bool *counts) {
    *value = (struct hc_ew_scalar){1, 1, 1, {1, 0}};
    *counts = true;
    if (s == NULL) return 0;
    HC_CHECK(!integers || hc_dtype_class(s->dtype) <= HC_CLASS_INT, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted an integer for integer tensors", name, factor, hc_dtype_name(s->dtype));
    *value = hc_ew_scalar(s);
    *counts = value->C128.re != 0 || value->C128.im != 0;
    return 0;
}

/* vec1 as a column, vec2 as a row, both as views: strides of the dimensions of size 1 do not matter. */
static aclnnStatus plan(const char *name, const aclTensor *self, const aclTensor *vec1, const aclTensor *vec2,
                        const aclScalar *beta, const aclScalar *alpha, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && vec1 && vec2 && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !self   ? "self"
             : !vec1 ? "vec1"
             : !vec2 ? "vec2"
                     : "out");
    HC_CHECK(vec1->rank == 1 && vec2->rank == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: vec1 is %s and vec2 %s, wanted vectors", name, HC_SHOW(vec1), HC_SHOW(vec2));
    HC_CHECK(out->rank == 2 && out->shape[0] == vec1->shape[0] && out->shape[1] == vec2->shape[0],
             ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted [%lld,%lld]", name, HC_SHOW(out),
             (long long)vec1->shape[0], (long long)vec2->shape[0]);
    aclTensor column = *vec1, row = *vec2;
    column.rank = row.rank = 2;
    column.shape[1] = row.shape[0] = 1;
    row.shape[1] = vec2->shape[0], row.stride[1] = vec2->stride[0];
    column.stride[1] = row.stride[0] = 0;
    const aclTensor *outs[] = {out}, *ins[] = {self, &column, &row};
    const aclDataType result = hc_result_type(ins, 3, &(struct hc_result_rule){0});
    const bool truth = result == ACL_BOOL, integers = hc_dtype_is_integral(result) && !truth;
    struct args args;
    HC_TRY(read_factor(name, "beta", beta, integers, &args.beta, &args.has_self));
    HC_TRY(read_factor(name, "alpha", alpha, integers, &args.alpha, &args.has_product));
    return hc_ew_plan_as(name, truth ? &TRUTH : &NUMBERS, HC_CLASS_BOOL, outs, 1, ins, 3, &args, sizeof args,
                         workspaceSize, executor);
}

HC_API aclnnStatus aclnnAddrGetWorkspaceSize(const aclTensor *self, const aclTensor *vec1,
                                             const aclTensor *vec2, const aclScalar *betaOptional,
                                             const aclScalar *alphaOptional, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnAddr", self, vec1, vec2, betaOptional, alphaOptional, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddr)

HC_API aclnnStatus aclnnInplaceAddrGetWorkspaceSize(aclTensor *selfRef, const aclTensor *vec1,
                                                    const aclTensor *vec2, const aclScalar *betaOptional,
                                                    const aclScalar *alphaOptional, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return plan("aclnnInplaceAddr", selfRef, vec1, vec2, betaOptional, alphaOptional, selfRef, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnInplaceAddr)
#endif
