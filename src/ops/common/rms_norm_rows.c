// SPDX-License-Identifier: Apache-2.0
/* See rms_norm_rows.h. Two passes over a row in cache; squares are float, their sum double. */
#include "rms_norm_rows.h"

#include "rows.h"

HC_ROWS_KERNEL(rms_norm_F32)
HC_ROWS_KERNEL(rms_norm_F64)

#ifdef HC_ISA
#include "simd_rows.h"

/* rstd is rounded to float before it is used: the gradient gets that number, and must invert the same
 * one. */
void HC_FN(rms_norm_F32)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    float *y = out[0];
    const float *x = in[0], *w = in[1];
    const struct hc_rms_norm *a = args;
    (void)row;
    const float rstd = (float)(1 / sqrt(vf_row_dot(x, x, n) / (double)n + a->epsilon));
    const float added = (float)a->added;
    if (out[1] != NULL) *(float *)out[1] = rstd;
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, vf_load(x + i) * rstd * (vf_load(w + i) + added));
    for (; i < n; i++) y[i] = x[i] * rstd * (w[i] + added);
}

/* As above in scalar code. */
void HC_FN(rms_norm_F64)(size_t n, void *const *out, const void *const *in, size_t row, const void *args) {
    double *y = out[0], squares = 0;
    const double *x = in[0], *w = in[1];
    const struct hc_rms_norm *a = args;
    (void)row;
    for (size_t i = 0; i < n; i++) squares += x[i] * x[i];
    const double rstd = 1 / sqrt(squares / (double)n + a->epsilon);
    if (out[1] != NULL) *(double *)out[1] = rstd;
    for (size_t i = 0; i < n; i++) y[i] = x[i] * rstd * (w[i] + a->added);
}

#else

/* gamma is converted once for all rows. */
aclnnStatus hc_rms_norm_run(const char *name, const struct hc_rms_norm *norm, const aclTensor *x,
                            const aclTensor *gamma, const aclTensor *y, const aclTensor *rstd) {
    const enum hc_block block = norm->block;
    return hc_rows_run(&(const struct hc_rows){.name = name,
                                               .shape = x,
                                               .mask = norm->mask,
                                               .args = norm,
                                               .kernel = block == HC_F64 ? HC_DISPATCH(rms_norm_F64)
                                                                         : HC_DISPATCH(rms_norm_F32),
                                               .num_outs = 2,
                                               .num_ins = 2,
                                               .work = 2,
                                               .operand = {{y, HC_ROWS_VECTOR, block},
                                                           {rstd, HC_ROWS_ONE, block},
                                                           {x, HC_ROWS_VECTOR, block},
                                                           {gamma, HC_ROWS_SHARED, block}}});
}
#endif
