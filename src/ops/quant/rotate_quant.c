// SPDX-License-Identifier: Apache-2.0
/* Rotation of runs of the last dimension, then quantisation:
 *
 *     z[.., g, :] = x[.., g, :] @ rotation         runs g of K elements; one rotation, or one for each run
 *
 * to int8 or int4 with a scale for each row, as DynamicQuant does it, or to MX formats along an axis, as
 * DynamicMxQuant does. z is rounded to the type of x, as the two operators in turn would have it. Of MX
 * formats alpha limits the elements of 32 neighbours to a part of their largest magnitude first. */
#include <string.h>

#include "gemm.h"
#include "mx.h"
#include "quant.h"

HC_KERNEL(limit_runs, (size_t n, float *x, float alpha))

enum { LIMIT_RUN = 32 };

#ifdef HC_ISA
/* NaN as the largest is no limit: their block is NaN anyway. */
void HC_FN(limit_runs)(size_t n, float *x, float alpha) {
    for (size_t at = 0; at < n; at += LIMIT_RUN) {
        const size_t count = n - at < LIMIT_RUN ? n - at : LIMIT_RUN;
        float largest = 0;
        for (size_t i = at; i < at + count; i++) {
            const float v = __builtin_fabsf(x[i]);
            largest = v > largest || v != v ? v : largest;
        }
        const float limit = alpha * largest;
        for (size_t i = at; i < at + count; i++) x[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
    }
}

#else

enum slot { X, ROTATION, ALPHA, Y, SCALE };

struct args {
    bool is_mx;
    struct hc_mx mx;
    int32_t axis;
    struct hc_quant_target target;
};

/* Rows of z whose runs are limited. */
struct limits {
    hc_store_fn *store;
    char *z;
    size_t n, item;
    float alpha;
};

/* In the type of z again: a limit may be rounded there. */
static void limit_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct limits *l = ctx;
    (void)spare;
    HC_DISPATCH(limit_runs)(l->n, x, l->alpha);
    l->store(l->n, l->z + row * l->n * l->item, 1, x);
}

/* alpha counts between 0 and 1. */
static aclnnStatus limit(const char *name, const aclTensor *given, const aclTensor *z) {
    float alpha;
    const aclTensor own = hc_tensor_view(ACL_FLOAT, given->shape, given->rank, &alpha);
    HC_TRY(hc_copy(&own, given));
    if (!(alpha > 0 && alpha < 1)) return 0;
    const struct limits l = {hc_store_for(z->dtype, HC_F32), hc_data(z), hc_quant_row_length(z),
                             (size_t)z->item_size, alpha};
    return hc_quant_rows_run(
        &(const struct hc_quant_rows){name, z, l.n, hc_quant_row_count(z), limit_row, &l});
}

/* One product for all runs; with a rotation for each, a batch of them. */
static aclnnStatus rotate(const aclTensor *x, const aclTensor *rotation, const aclTensor *z) {
    const int32_t r = rotation->rank;
    const int64_t k = rotation->shape[r - 1], runs = r == 3 ? rotation->shape[0] : 1;
    struct hc_gemm g = {.m = hc_numel(x) / (size_t)(k * runs),
                        .n = (size_t)k,
                        .k = (size_t)k,
                        .batch_rank = r - 2,
                        .batch_shape = {runs},
                        .alpha = HC_GEMM_REAL(1)};
    g.a = (struct hc_gemm_matrix){hc_data(x), x->dtype, k * runs, 1, {k}};
    g.out = (struct hc_gemm_matrix){hc_data(z), z->dtype, k * runs, 1, {k}};
    g.b = (struct hc_gemm_matrix){
        hc_data(rotation), rotation->dtype, rotation->stride[r - 2], rotation->stride[r - 1], {0}};
    if (r == 3) g.b.batch[0] = rotation->stride[0];
    return hc_gemm(&g);
}

/* As the operator of that format alone does it. */
static aclnnStatus quantise(const struct hc_call *call, const aclTensor *z) {
    const struct args *a = call->args;
    const aclTensor *alpha = hc_arg(call, ALPHA), *y = hc_arg(call, Y), *scale = hc_arg(call, SCALE);
    if (!a->is_mx) return hc_quant_by_row(call->name, &a->target, z, hc_quant_row_length(z), y, scale);
    if (alpha != NULL) HC_TRY(limit(call->name, alpha, z));
    return hc_mx_quantise(call->name, &a->mx, z, a->axis, y, scale);
}

/* Everything is read before an output is written. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *given = hc_arg(call, X);
    aclTensor x;
    void *own_x = NULL;
    if (given->numel == 0) return 0; /* no scales either */
    HC_TRY(hc_contiguous(given, given->dtype, &x, &own_x));
    char *memory = hc_block_take_array(hc_numel(&x), (size_t)x.item_size);
    aclnnStatus status = 0;
    if (memory == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %s", call->name, HC_SHOW(given));
    const aclTensor z = hc_tensor_view(x.dtype, x.shape, x.rank, memory);
    if (status == 0) status = rotate(&x, hc_arg(call, ROTATION), &z);
    if (status == 0) status = quantise(call, &z);
    hc_block_give(memory);
    hc_block_give(own_x);
    return status;
}

/* ---- phase one ---- */

static const char *const NAME = "aclnnRotateQuant";

/* Square, and as many runs of its size as a row has. */
static aclnnStatus check_rotation(const aclTensor *x, const aclTensor *rotation) {
    HC_CHECK(rotation != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: rotation is null", NAME);
    const int32_t r = rotation->rank;
    const int64_t n = x->shape[x->rank - 1], k = r > 0 ? rotation->shape[r - 1] : 0;
    HC_CHECK(hc_fits_f32(rotation->dtype) && (r == 2 || r == 3) && k > 0 && rotation->shape[r - 2] == k,
             ACLNN_ERR_PARAM_INVALID, "%s: rotation is %s, wanted floating point of [K,K] or [runs,K,K]",
             NAME, HC_SHOW(rotation));
    HC_CHECK(r == 3 ? rotation->shape[0] > 0 && n % k == 0 && n / k == rotation->shape[0] : n % k == 0,
             ACLNN_ERR_PARAM_INVALID,
             "%s: rotation is %s, the last dimension of x %s is not made of such runs", NAME,
             HC_SHOW(rotation), HC_SHOW(x));
    return 0;
}

/* A scale for each row of the last dimension. */
static aclnnStatus check_integers(const aclTensor *x, const aclTensor *alpha, const char *round_mode,
                                  const aclTensor *y, const aclTensor *scale, struct args *args) {
    HC_TRY(hc_quant_check_target(NAME, x, "yOut", y, -1, &args->target));
    HC_CHECK(!hc_quant_is_float(&args->target), ACLNN_ERR_PARAM_INVALID,
             "%s: yOut is %s, wanted int8, int4, or an MX format with scales of float8_e8m0", NAME,
             HC_SHOW(y));
    HC_CHECK(strcmp(round_mode, "rint") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: roundMode is '%.32s', wanted rint for yOut %s", NAME, round_mode, HC_SHOW(y));
    HC_CHECK(alpha == NULL, ACLNN_ERR_PARAM_INVALID, "%s: alpha is %s, wanted none for yOut %s", NAME,
             HC_SHOW(alpha), HC_SHOW(y));
    HC_TRY(hc_quant_check_float(NAME, "scaleOut", scale));
    HC_CHECK(x->numel > 0 || scale->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted elements: there is no largest of none", NAME, HC_SHOW(x));
    HC_CHECK(hc_numel(scale) == hc_quant_row_count(x), ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOut is %s, wanted %zu elements for x %s", NAME, HC_SHOW(scale), hc_quant_row_count(x),
             HC_SHOW(x));
    return 0;
}

/* torch_npu.npu_rotate_quant. */
HC_API aclnnStatus aclnnRotateQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *rotation,
                                                    const aclTensor *alpha, int64_t axis, char *roundMode,
                                                    int64_t scaleAlg, double dstTypeMax, bool trans,
                                                    aclTensor *yOut, aclTensor *scaleOut,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {0};
    HC_TRY(hc_quant_check_float(NAME, "x", x));
    HC_CHECK(x->rank >= 1 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted a dimension at least", NAME, HC_SHOW(x));
    HC_TRY(check_rotation(x, rotation));
    HC_CHECK(alpha == NULL || (alpha->numel == 1 && hc_fits_f32(alpha->dtype)), ACLNN_ERR_PARAM_INVALID,
             "%s: alpha is %s, wanted one number of floating point", NAME, HC_SHOW(alpha));
    HC_CHECK(!trans, ACLNN_ERR_PARAM_INVALID, "%s: trans is true, wanted false", NAME);
    HC_CHECK(roundMode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: roundMode is null", NAME);
    HC_CHECK(yOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: yOut is null", NAME);
    HC_CHECK(scaleOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: scaleOut is null", NAME);
    const int64_t d = hc_wrap_dim(axis, x->rank);
    HC_CHECK(d >= 0, ACLNN_ERR_PARAM_INVALID, "%s: axis is %lld, x is %s", NAME, (long long)axis, HC_SHOW(x));
    args.axis = (int32_t)d;
    args.is_mx = scaleOut->dtype == ACL_FLOAT8_E8M0;
    if (args.is_mx) {
        HC_CHECK(hc_is_fp4(yOut->dtype) || yOut->dtype == ACL_FLOAT8_E4M3FN || yOut->dtype == ACL_FLOAT8_E5M2,
                 ACLNN_ERR_PARAM_INVALID, "%s: yOut is %s, wanted float8 or float4 with scaleOut %s", NAME,
                 HC_SHOW(yOut), HC_SHOW(scaleOut));
        HC_TRY(hc_mx_check(NAME, roundMode, yOut->dtype, LIMIT_RUN, scaleAlg, dstTypeMax, &args.mx));
        HC_TRY(hc_mx_check_outputs(NAME, &args.mx, x, args.axis, "yOut", yOut, "scaleOut", scaleOut));
    } else {
        HC_TRY(check_integers(x, alpha, roundMode, yOut, scaleOut, &args));
    }
    const aclTensor bytes = hc_fp4_bytes(yOut), *const y = hc_is_fp4(yOut->dtype) ? &bytes : yOut;
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_IN(rotation), HC_IN_OPT(alpha), HC_OUT(y),
                   HC_OUT(scaleOut));
}
HC_OP_LAUNCH(aclnnRotateQuant)
#endif
