// SPDX-License-Identifier: Apache-2.0
/* Root mean square normalisation quantised to an MX format (mx.h), alone or after a residual addition:
 *
 *     z = (x1 + x2) * rstd * gamma + beta, in blocks of 32 along the last dimension
 *
 * As in AddRmsNorm the sum is rounded to the type of x first, and is an output; z is float32 in memory of
 * ours and is rounded only by the format. */
#include <string.h>

#include "mx.h"
#include "norm.h"
#include "quant.h"
#include "rms_row.h"
#include "sum_of_two.h"

enum slot { X1, X2, GAMMA, BETA, Y, SCALE, SUM, RSTD, SLOTS };

struct args {
    struct hc_mx mx;
    double epsilon;
    uint32_t mask; /* the dimensions of a row */
};

/* ---- phase two ---- */

/* rstd NULL: it is not wanted. */
struct job {
    double epsilon;
    size_t n;
    const float *gamma, *beta;
    float *z, *rstd;
};

/* In place, then kept: a row of several dimensions has blocks along the last one only. */
static void normalise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    float rstd;
    (void)spare;
    hc_rms_row(j->n, x, j->gamma, j->beta, j->epsilon, &rstd);
    if (j->rstd != NULL) j->rstd[row] = rstd;
    memcpy(j->z + row * j->n, x, j->n * sizeof *x);
}

/* Everything contiguous. */
static aclnnStatus normalise(const struct hc_call *call, const aclTensor *x, const aclTensor *gamma,
                             const aclTensor *beta, const aclTensor *rstd, const aclTensor *z) {
    const struct args *a = call->args;
    const struct job j = {.epsilon = a->epsilon,
                          .n = hc_rows_length(x, a->mask),
                          .gamma = (const float *)hc_data(gamma),
                          .beta = beta->base != NULL ? (const float *)hc_data(beta) : NULL,
                          .z = (float *)hc_data(z),
                          .rstd = rstd->base != NULL ? (float *)hc_data(rstd) : NULL};
    HC_TRY(hc_quant_rows_run(
        &(const struct hc_quant_rows){call->name, x, j.n, hc_numel(x) / j.n, normalise_row, &j}));
    return hc_mx_quantise(call->name, &a->mx, z, x->rank - 1, hc_arg(call, Y), hc_arg(call, SCALE));
}

/* Copies of what is not contiguous float32, or lies where y is written. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *x = hc_arg(call, X1), *rstd = hc_arg(call, RSTD), *beta = hc_arg(call, BETA);
    aclTensor plain, by, shift = {.base = NULL}, to = {.base = NULL};
    void *owned[4] = {NULL};
    aclnnStatus status = 0;
    if (x->numel == 0) return 0;
    if (hc_arg(call, X2) != NULL) {
        status = hc_sum_of_two(call->name, hc_arg(call, SUM), x, hc_arg(call, X2));
        x = hc_arg(call, SUM);
    }
    void *memory = hc_block_take_array(hc_numel(x), sizeof(float));
    if (memory == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %lld values", call->name,
                         (long long)x->numel);
    const aclTensor z = hc_tensor_view(ACL_FLOAT, x->shape, x->rank, memory);
    if (status == 0) status = hc_contiguous(x, x->dtype, &plain, &owned[0]);
    if (status == 0) status = hc_contiguous(hc_arg(call, GAMMA), ACL_FLOAT, &by, &owned[1]);
    if (status == 0 && beta != NULL) status = hc_contiguous(beta, ACL_FLOAT, &shift, &owned[2]);
    if (status == 0 && rstd != NULL) status = hc_contiguous_out(rstd, ACL_FLOAT, &to, &owned[3]);
    if (status == 0) status = normalise(call, &plain, &by, &shift, &to, &z);
    if (status == 0 && owned[3] != NULL) status = hc_copy(rstd, &to);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    hc_block_give(memory);
    return status;
}

/* ---- phase one ---- */

/* What the operators have in common. */
struct request {
    const char *name, *x_name;
    const aclTensor *in[SLOTS];
    const char *round_mode;
    int64_t scale_alg, dst_type;
};

/* gamma has the shape of a row, as in the other norms. */
static aclnnStatus check_inputs(const struct request *r, struct args *args) {
    const aclTensor *x = r->in[X1], *gamma = r->in[GAMMA], *beta = r->in[BETA];
    HC_TRY(hc_quant_check_float(r->name, r->x_name, x));
    HC_TRY(hc_quant_check_float(r->name, "gamma", gamma));
    HC_CHECK(x->rank >= 1 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted 1 to %d dimensions", r->name, r->x_name, HC_SHOW(x), HC_MAX_RANK - 1);
    HC_TRY(hc_norm_mask(r->name, x, gamma->shape, (size_t)gamma->rank, &args->mask));
    HC_CHECK(beta == NULL || (hc_fits_f32(beta->dtype) && hc_same_shape(beta, gamma)),
             ACLNN_ERR_PARAM_INVALID, "%s: beta is %s, wanted floating point of the shape of gamma %s",
             r->name, HC_SHOW(beta), HC_SHOW(gamma));
    if (r->in[X2] == NULL) return 0;
    HC_TRY(hc_norm_check_same(r->name, x, "x2", r->in[X2]));
    return hc_norm_check_same(r->name, x, "xOut", r->in[SUM]);
}

static aclnnStatus plan(const struct request *r, double epsilon, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    static const char *const NAMES[SLOTS] = {"x1",   "x2",         "gamma", "beta",
                                             "yOut", "mxscaleOut", "xOut",  "rstdOut"};
    const aclTensor *x = r->in[X1];
    struct args args = {.epsilon = epsilon};
    HC_TRY(check_inputs(r, &args));
    HC_TRY(hc_mx_check(r->name, r->round_mode, r->dst_type, 32, r->scale_alg, 0, &args.mx));
    HC_TRY(
        hc_mx_check_outputs(r->name, &args.mx, x, x->rank - 1, "yOut", r->in[Y], "mxscaleOut", r->in[SCALE]));
    HC_TRY(hc_norm_check_rows(r->name, "rstdOut", r->in[RSTD], x, args.mask));
    const aclTensor bytes = hc_fp4_bytes(r->in[Y]);
    struct hc_operand operands[SLOTS];
    for (int s = 0; s < SLOTS; s++) {
        const bool optional = s == X2 || s == BETA || s == SUM || s == RSTD;
        const int role = (s < Y ? HC_ROLE_IN : HC_ROLE_OUT) | (optional ? HC_ROLE_OPTIONAL : 0);
        operands[s] =
            (struct hc_operand){s == Y ? &bytes : r->in[s], NULL, role, s == X1 ? r->x_name : NAMES[s]};
    }
    const struct hc_plan p = {.name = r->name,
                              .run = run,
                              .args = &args,
                              .args_size = sizeof args,
                              .operands = operands,
                              .num_operands = SLOTS};
    return hc_plan(&p, workspaceSize, executor);
}

/* torch_npu.npu_rms_norm_dynamic_mx_quant. */
HC_API aclnnStatus aclnnRmsNormDynamicMxQuantGetWorkspaceSize(
    const aclTensor *x, const aclTensor *gamma, const aclTensor *beta, double epsilon, int64_t scaleAlg,
    char *roundMode, int64_t dstType, bool outputRstd, aclTensor *yOut, aclTensor *mxscaleOut,
    aclTensor *rstdOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnRmsNormDynamicMxQuant";
    HC_CHECK(!outputRstd || rstdOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: rstdOut is null", NAME);
    const struct request r = {NAME,
                              "x",
                              {[X1] = x,
                               [GAMMA] = gamma,
                               [BETA] = beta,
                               [Y] = yOut,
                               [SCALE] = mxscaleOut,
                               [RSTD] = outputRstd ? rstdOut : NULL},
                              roundMode,
                              scaleAlg,
                              dstType};
    return plan(&r, epsilon, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRmsNormDynamicMxQuant)

/* torch_npu.npu_add_rms_norm_dynamic_mx_quant. */
HC_API aclnnStatus aclnnAddRmsNormDynamicMxQuantGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *gamma, const aclTensor *beta, double epsilon,
    int64_t scaleAlg, char *roundMode, int64_t dstType, bool outputRstd, aclTensor *yOut, aclTensor *xOut,
    aclTensor *mxscaleOut, aclTensor *rstdOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnAddRmsNormDynamicMxQuant";
    HC_CHECK(x2 && (!outputRstd || rstdOut), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             x2 ? "rstdOut" : "x2");
    const struct request r = {
        NAME,      "x1",     {x1, x2, gamma, beta, yOut, mxscaleOut, xOut, outputRstd ? rstdOut : NULL},
        roundMode, scaleAlg, dstType};
    return plan(&r, epsilon, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddRmsNormDynamicMxQuant)
