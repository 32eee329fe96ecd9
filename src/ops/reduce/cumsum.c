// SPDX-License-Identifier: Apache-2.0
/* Running sum along a dimension: y[i] = x[0] + .. + x[i].
 *
 * Floats are added in double and each value is rounded once, so the error does not grow along the row. A
 * row is one chain of additions, by one thread; rows are shared. A scan in parallel would need a second
 * pass over the row, and its sums would depend on where it is cut. */
#include "result_type.h"
#include "rows.h"

HC_ROWS_KERNEL(cumsum_F32)
HC_ROWS_KERNEL(cumsum_F64)
HC_ROWS_KERNEL(cumsum_I64)
HC_ROWS_KERNEL(cumsum_C128)
HC_ROWS_COLUMNS(cumsum_columns)

#ifdef HC_ISA
#include "simd.h"

#define DEFINE(block, type, state_type)                                                                      \
    void HC_FN(cumsum_##block)(size_t n, void *const *out, const void *const *in, size_t row,                \
                               const void *args) {                                                           \
        type *y = out[0];                                                                                    \
        const type *x = in[0];                                                                               \
        state_type sum = 0;                                                                                  \
        (void)row;                                                                                           \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i++) {                                                                     \
            sum += (state_type)x[i];                                                                         \
            y[i] = (type)sum;                                                                                \
        }                                                                                                    \
    }
DEFINE(F32, float, double)
DEFINE(F64, double, double)
DEFINE(I64, int64_t, uint64_t) /* wraps */

/* A vector of rows side by side: their chains of additions run beside each other. */
void HC_FN(cumsum_columns)(size_t n, size_t pitch, void *const *out, const void *const *in) {
    for (size_t c = 0; c < pitch; c += HC_VL) {
        float *y = (float *)out[0] + c;
        const float *x = (const float *)in[0] + c;
        double sum[HC_VL] = {0};
        for (size_t i = 0; i < n; i++, x += pitch, y += pitch) {
            _Pragma("GCC ivdep") for (size_t l = 0; l < HC_VL; l++) {
                sum[l] += (double)x[l];
                y[l] = (float)sum[l];
            }
        }
    }
}

/* Parts apart, as complex sums are. */
void HC_FN(cumsum_C128)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    hc_c128 *y = out[0], sum = {0, 0};
    const hc_c128 *x = in[0];
    (void)row;
    (void)args;
    for (size_t i = 0; i < n; i++) {
        sum = (hc_c128){sum.re + x[i].re, sum.im + x[i].im};
        y[i] = sum;
    }
}

#else
/* The block is dtype's: the sum of int32 as int64 is computed as int64. */
struct args {
    uint32_t mask;
    enum hc_block block;
};

static hc_rows_kernel *const *const KERNELS[HC_BLOCK_COUNT] = {[HC_F32] = cumsum_F32_table,
                                                               [HC_F64] = cumsum_F64_table,
                                                               [HC_I64] = cumsum_I64_table,
                                                               [HC_C128] = cumsum_C128_table};

/* Operands self, out: a vector of the row in, one out. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = hc_arg(call, 0),
                                               .mask = a->mask,
                                               .kernel = KERNELS[a->block][hc_isa()],
                                               .columns = HC_DISPATCH(cumsum_columns),
                                               .num_outs = 1,
                                               .num_ins = 1,
                                               .work = 2,
                                               .operand = {{hc_arg(call, 1), HC_ROWS_VECTOR, a->block},
                                                           {hc_arg(call, 0), HC_ROWS_VECTOR, a->block}}});
}

/* torch.cumsum(self, dim, dtype): values are converted to dtype before they are added, as in sums. bool
 * and the small integers come as int64, which is PyTorch's default for them. */
HC_API aclnnStatus aclnnCumsumGetWorkspaceSize(const aclTensor *self, int64_t dim, aclDataType dtype,
                                               aclTensor *out, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    struct args args;
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnCumsum: %s is null", self ? "out" : "self");
    HC_CHECK(hc_same_shape(self, out), ACLNN_ERR_PARAM_INVALID,
             "aclnnCumsum: out is %s, self is %s, want the same shape", HC_SHOW(out), HC_SHOW(self));
    HC_CHECK(hc_dtype_size(dtype) > 0, ACLNN_ERR_PARAM_INVALID, "aclnnCumsum: dtype is %s",
             hc_dtype_name(dtype));
    HC_CHECK(dtype != ACL_BOOL && hc_can_cast(dtype, out->dtype), ACLNN_ERR_PARAM_INVALID,
             "aclnnCumsum: sums of %s can't be cast to the desired output type of out %s, wanted an integer "
             "type or "
             "one of the same class",
             hc_dtype_name(dtype), HC_SHOW(out));
    HC_TRY(hc_rows_dim("aclnnCumsum", self, dim, &args.mask));
    args.block = hc_compute_block(dtype);
    return HC_PLAN("aclnnCumsum", run, &args, HC_IN(self), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnCumsum)
#endif
