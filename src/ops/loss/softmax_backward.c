// SPDX-License-Identifier: Apache-2.0
/* Gradients of softmax, y (g - sum g y), and of its logarithm, g - e^y sum g. Two passes over the rows of
 * g and y in cache; the sum is in double. y is the forward's output, so no exponential is needed for
 * softmax and one for its logarithm. */
#include "rows.h"

HC_ROWS_KERNEL(softmax_backward_F32)
HC_ROWS_KERNEL(softmax_backward_F64)
HC_ROWS_KERNEL(softmax_backward_BF16)
HC_ROWS_KERNEL(log_softmax_backward_F32)
HC_ROWS_KERNEL(log_softmax_backward_F64)
HC_ROWS_COLUMNS(softmax_backward_columns)
HC_ROWS_COLUMNS(log_softmax_backward_columns)

#ifdef HC_ISA
#include "simd_columns.h"
#include "simd_math.h"
#include "simd_rows.h"

/* What all four kernels begin with. */
#define UNPACK(type)                                                                                         \
    type *dx = out[0];                                                                                       \
    const type *g = in[0], *y = in[1];                                                                       \
    (void)row;                                                                                               \
    (void)args

/* dx may be the memory of g: a block is read before it is written. */
void HC_FN(softmax_backward_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                                 const void *args) {
    UNPACK(float);
    const float sum = (float)vf_row_dot(g, y, n);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(dx + i, vf_load(y + i) * (vf_load(g + i) - sum));
    for (; i < n; i++) dx[i] = y[i] * (g[i] - sum);
}

void HC_FN(softmax_backward_BF16)(size_t n, void *const *out, const void *const *in, size_t row,
                                  const void *args) {
    UNPACK(uint16_t);
    double dot = 0;
    HC_ROW_SUM(dot, n, vf_load_bf16(g + at) * vf_load_bf16(y + at),
               vf_load_bf16_part(g + at, rest) * vf_load_bf16_part(y + at, rest));
    const float sum = (float)dot;
    size_t i = 0;
    for (; i + 2 * HC_VL <= n; i += 2 * HC_VL) {
        const size_t j = i + HC_VL;
        vf_store_bf16_pair(dx + i, vf_load_bf16(y + i) * (vf_load_bf16(g + i) - sum),
                           vf_load_bf16(y + j) * (vf_load_bf16(g + j) - sum));
    }
    for (; i + HC_VL <= n; i += HC_VL)
        vf_store_bf16(dx + i, vf_load_bf16(y + i) * (vf_load_bf16(g + i) - sum));
    if (i < n) {
        const vf last = vf_load_bf16_part(y + i, n - i) * (vf_load_bf16_part(g + i, n - i) - sum);
        vf_store_bf16_part(dx + i, last, n - i);
    }
}

void HC_FN(log_softmax_backward_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                                     const void *args) {
    UNPACK(float);
    const float sum = (float)vf_row_sum(g, n);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(dx + i, vf_load(g + i) - vf_exp(vf_load(y + i)) * sum);
    if (i < n)
        vf_store_part(dx + i, vf_load_part(g + i, n - i) - vf_exp(vf_load_part(y + i, n - i)) * sum, n - i);
}

/* Along a dimension whose rows are columns in memory, a vector of them at a time. */
static inline vf narrow_sums(const double *sum) {
    float s[HC_VL];
    for (size_t l = 0; l < HC_VL; l++) s[l] = (float)sum[l];
    return vf_load(s);
}
#define COLUMNS(name, term, result)                                                                          \
    void HC_FN(name)(size_t n, size_t pitch, void *const *out, const void *const *in) {                      \
        for (size_t c = 0; c < pitch; c += HC_VL) {                                                          \
            float *dx = (float *)out[0] + c;                                                                 \
            const float *g = (const float *)in[0] + c, *y = (const float *)in[1] + c;                        \
            double sums[HC_VL] = {0};                                                                        \
            HC_COLUMN_SUM(sums, n, term(vf_load(g + at * pitch), vf_load(y + at * pitch)));                  \
            const vf sum = narrow_sums(sums);                                                                \
            for (size_t i = 0; i < n; i++)                                                                   \
                vf_store(dx + i * pitch, result(vf_load(g + i * pitch), vf_load(y + i * pitch), sum));       \
        }                                                                                                    \
    }
#define PRODUCT(g, y) ((g) * (y))
#define GRADIENT(g, y, sum) ((y) * ((g) - (sum)))
#define FIRST(g, y) (g)
#define LOG_GRADIENT(g, y, sum) ((g) - vf_exp(y) * (sum))
COLUMNS(softmax_backward_columns, PRODUCT, GRADIENT)
COLUMNS(log_softmax_backward_columns, FIRST, LOG_GRADIENT)

/* As above, with scalar code, as double gradients are for checks and not for training. */
void HC_FN(softmax_backward_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                                 const void *args) {
    UNPACK(double);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += g[i] * y[i];
    for (size_t i = 0; i < n; i++) dx[i] = y[i] * (g[i] - sum);
}

void HC_FN(log_softmax_backward_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                                     const void *args) {
    UNPACK(double);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += g[i];
    for (size_t i = 0; i < n; i++) dx[i] = g[i] - exp(y[i]) * sum;
}

#else
/* mask: the one dimension. */
struct args {
    bool log;
    enum hc_block block;
    uint32_t mask;
};

/* Operands gradOutput, output, out. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    hc_rows_kernel *const single =
        a->log ? HC_DISPATCH(log_softmax_backward_F32) : HC_DISPATCH(softmax_backward_F32);
    hc_rows_kernel *const both =
        a->log ? HC_DISPATCH(log_softmax_backward_F64) : HC_DISPATCH(softmax_backward_F64);
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = hc_arg(call, 0),
                                               .mask = a->mask,
                                               .kernel = a->block == HC_F64 ? both : single,
                                               .bf16 = a->log ? NULL : HC_DISPATCH(softmax_backward_BF16),
                                               .columns = a->log ? HC_DISPATCH(log_softmax_backward_columns)
                                                                 : HC_DISPATCH(softmax_backward_columns),
                                               .num_outs = 1,
                                               .num_ins = 2,
                                               .work = 2,
                                               .operand = {{hc_arg(call, 2), HC_ROWS_VECTOR, a->block},
                                                           {hc_arg(call, 0), HC_ROWS_VECTOR, a->block},
                                                           {hc_arg(call, 1), HC_ROWS_VECTOR, a->block}}});
}

/* Computed in the wider of both types: gradients may be float32 where the output was bfloat16. */
static aclnnStatus plan(const char *name, bool log, const aclTensor *gradOutput, const aclTensor *output,
                        int64_t dim, const aclTensor *out, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args args = {.log = log};
    HC_CHECK(gradOutput && output && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             gradOutput ? output ? "out" : "output" : "gradOutput");
    HC_CHECK(hc_dtype_is_float(gradOutput->dtype) && hc_dtype_is_float(output->dtype) &&
                 hc_dtype_is_float(out->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: gradOutput %s, output %s, out %s, want floating point types", name,
             HC_SHOW(gradOutput), HC_SHOW(output), HC_SHOW(out));
    HC_CHECK(hc_same_shape(gradOutput, output) && hc_same_shape(output, out), ACLNN_ERR_PARAM_INVALID,
             "%s: gradOutput %s, output %s, out %s, want the same shape", name, HC_SHOW(gradOutput),
             HC_SHOW(output), HC_SHOW(out));
    HC_TRY(hc_rows_dim(name, output, dim, &args.mask));
    args.block = hc_compute_block(hc_dtype_promote(gradOutput->dtype, output->dtype));
    return HC_PLAN(name, run, &args, HC_IN(gradOutput), HC_IN(output), HC_OUT(out));
}

/* `output` is what the forward gave: probabilities, or their logarithms. */
#define BACKWARD(api, log)                                                                                   \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *output,           \
                                             int64_t dim, aclTensor *out, uint64_t *workspaceSize,           \
                                             aclOpExecutor **executor) {                                     \
        return plan(#api, log, gradOutput, output, dim, out, workspaceSize, executor);                       \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
BACKWARD(aclnnSoftmaxBackward, false)
BACKWARD(aclnnLogSoftmaxBackward, true)
#endif
