// SPDX-License-Identifier: Apache-2.0
/* SwiGLU quantised to an MX format (mx.h): z = silu(a) * b, a and b being the halves of x along one axis, or
 * pairs of it with a limit, a factor and a shift (swiglu.h), in blocks of 32 along any axis. z is float32 in
 * memory of ours and is rounded only by the format. Along another axis than the last, rows are those of x
 * with the two axes exchanged. */
#include <string.h>

#include "mx.h"
#include "quant.h"
#include "swiglu.h"

/* Operands x, y, scale. */
struct args {
    struct hc_mx mx;
    struct hc_swiglu swiglu;
    int32_t halved, axis;
};

struct job {
    struct hc_swiglu swiglu;
    size_t n;
    float *z;
};

/* Rows are written where they belong; their blocks are found afterwards. */
static void activate_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    memcpy(j->z + row * j->n, hc_swiglu_of_row(&j->swiglu, j->n, x, spare), j->n * sizeof *j->z);
}

/* x with the halved axis last, contiguous; z in the same order. */
static aclnnStatus activate(const struct hc_call *call, const aclTensor *turned, const aclTensor *z) {
    const struct args *a = call->args;
    aclTensor x;
    void *owned = NULL;
    HC_TRY(hc_contiguous(turned, turned->dtype, &x, &owned));
    const struct job j = {.swiglu = a->swiglu, .n = hc_quant_row_length(&x) / 2, .z = (float *)hc_data(z)};
    const aclnnStatus status = hc_quant_rows_run(
        &(const struct hc_quant_rows){call->name, &x, 2 * j.n, hc_quant_row_count(&x), activate_row, &j});
    hc_block_give(owned);
    return status;
}

/* z in the order of y, and then its blocks. */
static aclnnStatus quantise(const struct hc_call *call, const aclTensor *z) {
    const struct args *a = call->args;
    const aclTensor view = hc_transpose_view(z, a->halved, z->rank - 1);
    aclTensor plain;
    void *owned = NULL;
    HC_TRY(hc_contiguous(&view, ACL_FLOAT, &plain, &owned));
    const aclnnStatus status =
        hc_mx_quantise(call->name, &a->mx, &plain, a->axis, hc_arg(call, 1), hc_arg(call, 2));
    hc_block_give(owned);
    return status;
}

/* x is read to its end before y is written: they may share memory. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0), turned = hc_transpose_view(x, a->halved, x->rank - 1);
    if (x->numel == 0) return 0;
    void *memory = hc_block_take_array(hc_numel(x) / 2, sizeof(float));
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld values", call->name,
             (long long)x->numel / 2);
    aclTensor half = turned;
    half.shape[x->rank - 1] /= 2;
    const aclTensor z = hc_tensor_view(ACL_FLOAT, half.shape, x->rank, memory);
    aclnnStatus status = activate(call, &turned, &z);
    if (status == 0) status = quantise(call, &z);
    hc_block_give(memory);
    return status;
}

/* ---- phase one ---- */

/* The two axes, and x with the first of them halved. */
static aclnnStatus check_axes(const char *name, const aclTensor *x, int64_t halved, int64_t axis,
                              struct args *args, aclTensor *half) {
    HC_TRY(hc_quant_check_float(name, "x", x));
    HC_CHECK(x->rank >= 2 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted 2 to %d dimensions", name, HC_SHOW(x), HC_MAX_RANK - 1);
    const int64_t first = hc_wrap_dim(halved, x->rank), second = hc_wrap_dim(axis, x->rank);
    HC_CHECK(first >= 0 && x->shape[first] % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: activateDim is %lld, wanted an axis of x %s with an even size", name, (long long)halved,
             HC_SHOW(x));
    HC_CHECK(second >= 0, ACLNN_ERR_PARAM_INVALID, "%s: axis is %lld, x is %s", name, (long long)axis,
             HC_SHOW(x));
    args->halved = (int32_t)first;
    args->axis = (int32_t)second;
    aclTensor shape = *x;
    shape.shape[first] /= 2;
    *half = hc_tensor_view(x->dtype, shape.shape, x->rank, NULL);
    return 0;
}

/* Mode 1 has the numbers of the gate, and pairs, the first of which is activated. */
static aclnnStatus check_mode(const char *name, int64_t mode, double limit, double alpha, double shift,
                              struct hc_swiglu *swiglu) {
    HC_CHECK(mode == 0 || mode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: swigluMode is %lld, wanted 0 (halves) or 1 (pairs with a limit)", name, (long long)mode);
    if (mode == 0) return 0;
    const bool finite = __builtin_isfinite(limit) && __builtin_isfinite(alpha) && __builtin_isfinite(shift);
    HC_CHECK(limit > 0 && finite, ACLNN_ERR_PARAM_INVALID,
             "%s: clampLimit is %g, gluAlpha %g and gluBias %g, wanted finite numbers and a positive limit",
             name, limit, alpha, shift);
    swiglu->interleaved = true;
    swiglu->gate = (struct hc_swiglu_gate){(float)limit, (float)alpha, (float)shift};
    return 0;
}

/* torch_npu.npu_swiglu_mx_quant. What groupMode says of groups is told nowhere that is public. */
HC_API aclnnStatus aclnnSwigluMxQuantGetWorkspaceSize(
    const aclTensor *x, const aclTensor *groupIndexOptional, int64_t activateDim, bool activateLeft,
    int64_t swigluMode, double clampLimit, double gluAlpha, double gluBias,
    __attribute__((unused)) int64_t groupMode, int64_t axis, int64_t dstType, char *roundModeOptional,
    int64_t scaleAlg, double maxDtypeValue, const aclTensor *yOut, const aclTensor *mxscaleOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnSwigluMxQuant";
    struct args args = {.swiglu = {HC_SWIGLU_PLAIN, activateLeft, false}};
    aclTensor half;
    HC_CHECK(groupIndexOptional == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: groupIndexOptional is %s, wanted none: groups are not supported", NAME,
             HC_SHOW(groupIndexOptional));
    HC_TRY(check_mode(NAME, swigluMode, clampLimit, gluAlpha, gluBias, &args.swiglu));
    HC_TRY(check_axes(NAME, x, activateDim, axis, &args, &half));
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, 32, scaleAlg, maxDtypeValue, &args.mx));
    HC_TRY(hc_mx_check_outputs(NAME, &args.mx, &half, args.axis, "yOut", yOut, "mxscaleOut", mxscaleOut));
    const aclTensor bytes = hc_fp4_bytes(yOut), *const y = &bytes;
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_OUT(y), HC_OUT(mxscaleOut));
}
HC_OP_LAUNCH(aclnnSwigluMxQuant)
