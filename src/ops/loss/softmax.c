// SPDX-License-Identifier: Apache-2.0
/* Softmax and its logarithm along a dimension: y = e^(x - max) / sum, or x - max - ln sum.
 *
 * Three passes over a row, which stays in the cache unless it is a vocabulary of a hundred thousand; the sum
 * is formed in blocks that are added up in double. A NaN anywhere makes the sum and so the whole row NaN. */
#include "rows.h"

HC_ROWS_KERNEL(softmax_F32)
HC_ROWS_KERNEL(softmax_F64)
HC_ROWS_KERNEL(softmax_BF16)
HC_ROWS_KERNEL(log_softmax_F32)
HC_ROWS_KERNEL(log_softmax_F64)
HC_ROWS_COLUMNS(softmax_columns)
HC_ROWS_COLUMNS(log_softmax_columns)

#ifdef HC_ISA
#include "simd_columns.h"
#include "simd_softmax.h"

void HC_FN(softmax_F32)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    (void)row;
    (void)args;
    vf_row_softmax(out[0], in[0], n);
}

static inline vf exp_keep(float *y, vf x, vf m) {
    const vf e = vf_exp(x - m);
    vf_store(y, e);
    return e;
}
/* The exponentials wait in float, so that each result is rounded once. */
void HC_FN(softmax_BF16)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    _Alignas(64) float e[HC_ROWS_BF16_MAX + HC_VL];
    uint16_t *y = out[0];
    const uint16_t *x = in[0];
    const float low = -__builtin_inff();
    float max;
    (void)row;
    (void)args;
    HC_ROW_MAX(max, n, vf_max_number, vf_load_bf16(x + at),
               vf_fill(vf_load_bf16_part(x + at, rest), rest, low));
    const vf m = vf_set(max);
    double sum = 0;
    HC_ROW_SUM(sum, n, exp_keep(e + at, vf_load_bf16(x + at), m),
               exp_keep(e + at, vf_fill(vf_load_bf16_part(x + at, rest), rest, low), m));
    const float scale = (float)(1 / sum);
    size_t i = 0;
    for (; i + 2 * HC_VL <= n; i += 2 * HC_VL)
        vf_store_bf16_pair(y + i, vf_load(e + i) * scale, vf_load(e + i + HC_VL) * scale);
    for (; i + HC_VL <= n; i += HC_VL) vf_store_bf16(y + i, vf_load(e + i) * scale);
    if (i < n) vf_store_bf16_part(y + i, vf_load(e + i) * scale, n - i);
}

/* Computes the exponentials for the sum only. x - max first, then - ln sum: the difference of close
 * numbers is exact, where max + ln sum would already be rounded. */
void HC_FN(log_softmax_F32)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    float *y = out[0];
    const float *x = in[0];
    (void)row;
    (void)args;
    float max;
    HC_ROW_MAX(max, n, vf_max_number, vf_load(x + at), vf_load_fill(x + at, rest, -__builtin_inff()));
    const vf m = vf_set(max), low = vf_set(-__builtin_inff());
    double sum = 0;
    HC_ROW_SUM(sum, n, vf_exp(vf_load(x + at) - m), vf_exp(vf_load_fill(x + at, rest, low[0]) - m));
    const float log_sum = (float)log(sum);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, (vf_load(x + i) - m) - log_sum);
    for (; i < n; i++) y[i] = (x[i] - max) - log_sum;
}

/* Along a dimension whose rows are columns in memory, a vector of them at a time. */
static inline vf keep(float *y, vf e) {
    vf_store(y, e);
    return e;
}
void HC_FN(softmax_columns)(size_t n, size_t pitch, void *const *out, const void *const *in) {
    for (size_t c = 0; c < pitch; c += HC_VL) {
        float *y = (float *)out[0] + c, scale[HC_VL];
        const float *x = (const float *)in[0] + c;
        const vf m = vf_column_max(x, n, pitch);
        double sum[HC_VL] = {0};
        HC_COLUMN_SUM(sum, n, keep(y + at * pitch, vf_exp(vf_load(x + at * pitch) - m)));
        for (size_t l = 0; l < HC_VL; l++) scale[l] = (float)(1 / sum[l]);
        for (size_t i = 0; i < n; i++) vf_store(y + i * pitch, vf_load(y + i * pitch) * vf_load(scale));
    }
}
void HC_FN(log_softmax_columns)(size_t n, size_t pitch, void *const *out, const void *const *in) {
    for (size_t c = 0; c < pitch; c += HC_VL) {
        float *y = (float *)out[0] + c, log_sum[HC_VL];
        const float *x = (const float *)in[0] + c;
        const vf m = vf_column_max(x, n, pitch);
        double sum[HC_VL] = {0};
        HC_COLUMN_SUM(sum, n, vf_exp(vf_load(x + at * pitch) - m));
        for (size_t l = 0; l < HC_VL; l++) log_sum[l] = (float)log(sum[l]);
        const vf minus = vf_load(log_sum);
        for (size_t i = 0; i < n; i++) vf_store(y + i * pitch, (vf_load(x + i * pitch) - m) - minus);
    }
}

/* Sum of e^(x - max), and max. */
static double exp_sum_f64(size_t n, const double *x, double *max) {
    double sum = 0;
    *max = -INFINITY;
    for (size_t i = 0; i < n; i++) *max = (x[i] > *max) | (x[i] != x[i]) ? x[i] : *max;
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - *max);
    return sum;
}

/* Computes the exponentials twice rather than store and scale: one division per element keeps half a unit
 * of accuracy, and double rows are rare. */
void HC_FN(softmax_F64)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    double *y = out[0], max;
    const double *x = in[0], sum = exp_sum_f64(n, x, &max);
    (void)row;
    (void)args;
    for (size_t i = 0; i < n; i++) y[i] = exp(x[i] - max) / sum;
}

/* The order of subtractions is that of the float kernel, for the same reason. */
void HC_FN(log_softmax_F64)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    double *y = out[0], max;
    const double *x = in[0], log_sum = log(exp_sum_f64(n, x, &max));
    (void)row;
    (void)args;
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - max) - log_sum;
}

#else
/* mask: the one dimension. */
struct args {
    bool log;
    enum hc_block block;
    uint32_t mask;
};

/* `single` and `both`: of single and of double precision. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    hc_rows_kernel *const single = a->log ? HC_DISPATCH(log_softmax_F32) : HC_DISPATCH(softmax_F32);
    hc_rows_kernel *const both = a->log ? HC_DISPATCH(log_softmax_F64) : HC_DISPATCH(softmax_F64);
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = hc_arg(call, 0),
                                               .mask = a->mask,
                                               .kernel = a->block == HC_F64 ? both : single,
                                               .bf16 = a->log ? NULL : HC_DISPATCH(softmax_BF16),
                                               .bf16_max = HC_ROWS_BF16_MAX,
                                               .columns = a->log ? HC_DISPATCH(log_softmax_columns)
                                                                 : HC_DISPATCH(softmax_columns),
                                               .num_outs = 1,
                                               .num_ins = 1,
                                               .work = 4,
                                               .operand = {{hc_arg(call, 1), HC_ROWS_VECTOR, a->block},
                                                           {hc_arg(call, 0), HC_ROWS_VECTOR, a->block}}});
}

/* Computed in the wider type of input and output: a bfloat16 input may have a float32 output. */
static aclnnStatus plan(const char *name, bool log, const aclTensor *self, int64_t dim, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.log = log};
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "out" : "self");
    HC_CHECK(hc_dtype_is_float(self->dtype) && hc_dtype_is_float(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: self %s, out %s, want floating point types", name, HC_SHOW(self), HC_SHOW(out));
    HC_CHECK(hc_same_shape(self, out), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, self is %s, want the same shape", name, HC_SHOW(out), HC_SHOW(self));
    HC_TRY(hc_rows_dim(name, self, dim, &args.mask));
    args.block = hc_compute_block(hc_dtype_promote(self->dtype, out->dtype));
    return HC_PLAN(name, run, &args, HC_IN(self), HC_OUT(out));
}

/* F.softmax(self, dim). A row of -inf alone is NaN, as in PyTorch. */
HC_API aclnnStatus aclnnSoftmaxGetWorkspaceSize(const aclTensor *self, int64_t dim, aclTensor *out,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnSoftmax", false, self, dim, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSoftmax)

HC_API aclnnStatus aclnnLogSoftmaxGetWorkspaceSize(const aclTensor *self, int64_t dim, aclTensor *out,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnLogSoftmax", true, self, dim, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnLogSoftmax)
#endif
