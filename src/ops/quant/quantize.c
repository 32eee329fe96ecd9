// SPDX-License-Identifier: Apache-2.0
/* Quantisation as PyTorch's: out = clip(round(x / scale) + zero point) along one axis, to int8, uint8 or
 * int32, or to a float of a byte, which is rounded last. In double, as numbers of int32 are no floats: the
 * quotient is that of the float32 values rounded once. */
#include "quant.h"

HC_KERNEL(quantize_row, (size_t n, double *y, const float *x, const double *scale, const double *zero,
                         bool each, bool whole, double low, double high))

#ifdef HC_ISA
#include <math.h>

/* The bounds are integers, and NaN gives 0, where results are whole. A float's quotient is that of float32:
 * rounded to double first, it could round twice. */
void HC_FN(quantize_row)(size_t n, double *y, const float *x, const double *scale, const double *zero,
                         bool each, bool whole, double low, double high) {
    const double s = scale[0], z = zero[0];
    for (size_t i = 0; i < n && !whole; i++) {
        const float v = x[i] / (float)(each ? scale[i] : s) + (float)(each ? zero[i] : z);
        y[i] = (double)v > high ? high : (double)v < low ? low : (double)v;
    }
    if (!whole) return;
    for (size_t i = 0; i < n; i++) {
        const double v = rint((double)x[i] / (each ? scale[i] : s)) + (each ? zero[i] : z);
        const double inside = v > high ? high : v < low ? low : v;
        y[i] = v == v ? inside : 0;
    }
}

#else

struct args {
    struct hc_quant_axis axis;
    double low, high;
    bool whole; /* integers */
};

/* Of x, scales, zero points and out, everything contiguous. */
struct job {
    const struct args *a;
    const double *scale, *zero;
    char *out;
    hc_store_fn *store;
    size_t n, item;
};

/* A run at a time: doubles of a whole row would not stay in the first-level cache. */
static void quantise_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    const struct hc_quant_axis *axis = &j->a->axis;
    const size_t at = axis->along_row ? 0 : row / axis->inner % axis->count;
    enum { RUN = 512 };
    double y[RUN];
    (void)spare;
    for (size_t i = 0; i < j->n; i += RUN) {
        const size_t n = hc_min_size(RUN, j->n - i), k = axis->along_row ? i : at;
        HC_DISPATCH(quantize_row)
        (n, y, x + i, j->scale + k, j->zero + k, axis->along_row, j->a->whole, j->a->low, j->a->high);
        j->store(n, j->out + (row * j->n + i) * j->item, 1, y);
    }
}

/* Zero points as many as scales: one may stand for all. */
static aclnnStatus take_zeros(const aclTensor *zeros, size_t count, double *to) {
    for (size_t i = 0; i < count; i++) to[i] = 0;
    if (zeros == NULL) return 0;
    const int64_t n = (int64_t)count;
    const aclTensor all = hc_tensor_view(ACL_DOUBLE, &n, 1, to);
    aclTensor from = *zeros;
    if (zeros->numel == 1) from.rank = 0;
    return hc_copy(&all, &from);
}

/* Operands x, scales, zeroPoints, out. */
/* Scales and zero points as doubles, the rest contiguous. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *given_x = hc_arg(call, 0), *out = hc_arg(call, 3);
    const size_t count = hc_numel(hc_arg(call, 1));
    aclTensor x, scale, y;
    void *own_x = NULL, *own_scale = NULL, *own_y = NULL;
    double *zero = hc_block_take_array(count, sizeof *zero);
    aclnnStatus status =
        zero != NULL ? 0
                     : hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu scales", call->name, count);
    if (status == 0) status = take_zeros(hc_arg(call, 2), count, zero);
    if (status == 0) status = hc_contiguous_apart(given_x, given_x->dtype, out, &x, &own_x);
    if (status == 0) status = hc_contiguous(hc_arg(call, 1), ACL_DOUBLE, &scale, &own_scale);
    if (status == 0) status = hc_contiguous_out(out, out->dtype, &y, &own_y);
    if (status == 0) {
        const struct job j = {.a = call->args,
                              .scale = (const double *)hc_data(&scale),
                              .zero = zero,
                              .out = hc_data(&y),
                              .store = hc_store_for(out->dtype, HC_F64),
                              .n = hc_quant_row_length(&x),
                              .item = (size_t)out->item_size};
        status = hc_quant_rows_run(
            &(const struct hc_quant_rows){call->name, &x, j.n, hc_quant_row_count(&x), quantise_row, &j});
        if (status == 0 && own_y != NULL) status = hc_copy(out, &y);
    }
    hc_block_give(zero);
    hc_block_give(own_x);
    hc_block_give(own_scale);
    hc_block_give(own_y);
    return status;
}

/* False for types that are no result. */
static bool range_of(aclDataType dtype, struct args *args) {
    args->whole = !hc_dtype_is_narrow(dtype);
    switch (dtype) {
    case ACL_FLOAT8_E4M3FN: args->low = -448, args->high = 448; return true;
    case ACL_FLOAT8_E5M2: args->low = -57344, args->high = 57344; return true;
    case ACL_HIFLOAT8: args->low = -32768, args->high = 32768; return true;
    case ACL_INT8: args->low = -128, args->high = 127; return true;
    case ACL_UINT8: args->low = 0, args->high = 255; return true;
    case ACL_INT32: args->low = INT32_MIN, args->high = INT32_MAX; return true;
    default: return false;
    }
}

/* PyTorch's numbers for its quantised types reach this argument from some of torch_npu's functions, so what
 * counts is the type of out. */
HC_API aclnnStatus aclnnQuantizeGetWorkspaceSize(const aclTensor *x, const aclTensor *scales,
                                                 const aclTensor *zeroPoints,
                                                 __attribute__((unused)) aclDataType dtype, int32_t axis,
                                                 aclTensor *out, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    static const char *const NAME = "aclnnQuantize";
    struct args args;
    HC_TRY(hc_quant_check_float(NAME, "x", x));
    HC_TRY(hc_quant_check_float(NAME, "scales", scales));
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: out is null", NAME);
    HC_CHECK(range_of(out->dtype, &args) && hc_same_shape(x, out), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, x %s: wanted int8, uint8, int32, float8 or hifloat8 of the same shape", NAME,
             HC_SHOW(out), HC_SHOW(x));
    const int64_t d = scales->numel == 1 ? 0 : hc_wrap_dim(axis, x->rank);
    HC_CHECK(d >= 0, ACLNN_ERR_PARAM_INVALID, "%s: axis is %d, x is %s", NAME, (int)axis, HC_SHOW(x));
    HC_TRY(hc_quant_check_axis(NAME, "scales", scales, x, (int32_t)d, &args.axis));
    if (zeroPoints != NULL) {
        const enum hc_dtype_class kind = hc_dtype_class(zeroPoints->dtype);
        HC_CHECK((kind == HC_CLASS_INT || kind == HC_CLASS_FLOAT) &&
                     (zeroPoints->numel == 1 || zeroPoints->numel == scales->numel),
                 ACLNN_ERR_PARAM_INVALID, "%s: zeroPoints is %s, wanted as many as scales %s", NAME,
                 HC_SHOW(zeroPoints), HC_SHOW(scales));
    }
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_IN(scales), HC_IN_OPT(zeroPoints), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnQuantize)
#endif
