// SPDX-License-Identifier: Apache-2.0
/* y = softmax(x * scale + mask + bias) along the last dimension: attention scores within windows.
 *
 * x is [B, W, N, S1, S2], or [B W, N, S1, S2]; the mask has W windows and the bias N heads, both S1 by S2,
 * with or without dimensions of 1 between and before. They are read as views that repeat them. */
#include "rows.h"

HC_ROWS_KERNEL(masked_softmax_bias_F32)
HC_ROWS_KERNEL(masked_softmax_bias_F64)

struct args {
    double scale;
    enum hc_block block;
};

#ifdef HC_ISA
#include <math.h>

#include "simd_softmax.h"

/* in: x, mask or NULL, bias. */
#define ADD_UP(type)                                                                                         \
    type *y = out[0];                                                                                        \
    const type *x = in[0], *mask = in[1], *bias = in[2];                                                     \
    const type scale = (type)((const struct args *)args)->scale;                                             \
    (void)row;                                                                                               \
    if (mask == NULL) {                                                                                      \
        for (size_t i = 0; i < n; i++) y[i] = x[i] * scale + bias[i];                                        \
    } else {                                                                                                 \
        for (size_t i = 0; i < n; i++) y[i] = x[i] * scale + mask[i] + bias[i];                              \
    }

void HC_FN(masked_softmax_bias_F32)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    ADD_UP(float)
    vf_row_softmax(y, y, n);
}

void HC_FN(masked_softmax_bias_F64)(size_t n, void *const *out, const void *const *in, size_t row,
                                    const void *args) {
    ADD_UP(double)
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) max = (y[i] > max) | (y[i] != y[i]) ? y[i] : max;
    for (size_t i = 0; i < n; i++) sum += exp(y[i] - max);
    for (size_t i = 0; i < n; i++) y[i] = exp(y[i] - max) / sum;
}

#else
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0);
    return hc_rows_run(&(const struct hc_rows){.name = call->name,
                                               .shape = x,
                                               .mask = UINT32_C(1) << (x->rank - 1),
                                               .kernel = a->block == HC_F64
                                                             ? HC_DISPATCH(masked_softmax_bias_F64)
                                                             : HC_DISPATCH(masked_softmax_bias_F32),
                                               .args = a,
                                               .num_outs = 1,
                                               .num_ins = 3,
                                               .work = 6,
                                               .operand = {{hc_arg(call, 3), HC_ROWS_VECTOR, a->block},
                                                           {x, HC_ROWS_VECTOR, a->block},
                                                           {hc_arg(call, 1), HC_ROWS_VECTOR, a->block},
                                                           {hc_arg(call, 2), HC_ROWS_VECTOR, a->block}}});
}

/* t, of `count` matrices S1 by S2, seen as [B, W, N, S1, S2] with its matrices along dimension `along`. */
static aclnnStatus repeat(const char *name, const char *arg, const aclTensor *t, const aclTensor *x,
                          int along, aclTensor *view) {
    const int64_t *s = x->shape;
    int32_t kept = 0;
    HC_CHECK(hc_dtype_is_float(t->dtype) && t->rank >= 3, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, want floating point of three dimensions or more", name, arg, HC_SHOW(t));
    *view = hc_tensor_view(t->dtype, s, x->rank, t->base);
    view->offset = t->offset;
    for (int32_t d = 0; d < x->rank; d++) view->stride[d] = d < 3 ? 0 : t->stride[t->rank - 5 + d];
    for (int32_t d = 0; d < t->rank - 2; d++) {
        if (t->shape[d] == 1) continue;
        view->stride[along] = t->stride[d];
        kept += t->shape[d] == s[along] ? 1 : 2; /* two cannot be seen as one */
    }
    HC_CHECK(kept == (s[along] == 1 ? 0 : 1) && t->shape[t->rank - 2] == s[3] &&
                 t->shape[t->rank - 1] == s[4],
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, want %lld matrices of the last two dimensions of %s",
             name, arg, HC_SHOW(t), (long long)s[along], HC_SHOW(x));
    return 0;
}

/* Windows of an x of four dimensions are those of the mask; without one they do not matter. */
static int64_t windows_of(const aclTensor *x, const aclTensor *mask) {
    if (mask == NULL || mask->rank < 3) return 1;
    int64_t count = 1;
    for (int32_t d = 0; d < mask->rank - 2; d++) count = mask->shape[d] > count ? mask->shape[d] : count;
    return x->shape[0] % count == 0 ? count : 1;
}

static aclTensor five_dimensions(const aclTensor *t, int64_t windows) {
    if (t->rank == 5) return *t;
    aclTensor view = hc_tensor_view(
        t->dtype, (const int64_t[]){t->shape[0] / windows, windows, t->shape[1], t->shape[2], t->shape[3]}, 5,
        t->base);
    view.offset = t->offset;
    view.stride[0] = t->stride[0] * windows;
    view.stride[1] = t->stride[0];
    for (int d = 2; d < 5; d++) view.stride[d] = t->stride[d - 1];
    return view;
}

/* innerPrecisionMode is a choice of the vendor's between speed and digits; here is one way. */
HC_API aclnnStatus aclnnMaskedSoftmaxWithRelPosBiasGetWorkspaceSize(
    const aclTensor *x, const aclTensor *attenMaskOptional, const aclTensor *relativePosBias,
    double scaleValue, int64_t innerPrecisionMode, const aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMaskedSoftmaxWithRelPosBias";
    HC_CHECK(x && relativePosBias && out, ACLNN_ERR_PARAM_NULLPTR, "%s: x, relativePosBias or out is null",
             NAME);
    HC_CHECK(innerPrecisionMode == 0 || innerPrecisionMode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: innerPrecisionMode is %lld, want 0 or 1", NAME, (long long)innerPrecisionMode);
    HC_CHECK((x->rank == 4 || x->rank == 5) && hc_dtype_is_float(x->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, want floating point of 4 or 5 dimensions", NAME, HC_SHOW(x));
    HC_CHECK(hc_same_shape(x, out) && hc_dtype_is_float(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, want floating point of the shape of x, %s", NAME, HC_SHOW(out), HC_SHOW(x));
    const int64_t windows = windows_of(x, attenMaskOptional);
    const aclTensor in = five_dimensions(x, windows), to = five_dimensions(out, windows);
    aclTensor mask, bias;
    if (attenMaskOptional != NULL)
        HC_TRY(repeat(NAME, "attenMaskOptional", attenMaskOptional, &in, 1, &mask));
    HC_TRY(repeat(NAME, "relativePosBias", relativePosBias, &in, 2, &bias));
    const struct args args = {scaleValue, hc_compute_block(x->dtype)};
    const aclTensor *given_mask = attenMaskOptional != NULL ? &mask : NULL;
    return HC_PLAN(NAME, run, &args, HC_IN(&in), HC_IN_OPT(given_mask), HC_IN(&bias), HC_OUT(&to));
}
HC_OP_LAUNCH(aclnnMaskedSoftmaxWithRelPosBias)
#endif
