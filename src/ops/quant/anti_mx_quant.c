// SPDX-License-Identifier: Apache-2.0
/* MX formats back to floating point: y = x * the scale of its block of 32 along an axis (mx.h). The product
 * is exact in float32 but for results below its smallest, and rounded once to y's type. */
#include "mx.h"
#include "narrow.h"

enum { BLOCK = 32, GRAIN = 16384 };

/* Operands x (bytes of fp4), scale, y. */
struct args {
    aclDataType dtype; /* of x */
    int32_t axis;
};

/* Rows [outer, n] of `inner` elements, everything contiguous. */
struct job {
    aclDataType dtype;
    const char *x, *scale;
    char *y;
    hc_load_fn *load;
    hc_store_fn *store;
    size_t outer, n, inner, pairs, item;
    bool failed;
};

/* Elements [at, at + count) as floats; of fp4 `at` is even. */
static void load(const struct job *j, size_t at, size_t count, float *to) {
    if (j->dtype == ACL_FLOAT4_E2M1) HC_DISPATCH(hc_fp4_load_e2m1)(count, to, (const uint8_t *)j->x + at / 2);
    else if (j->dtype == ACL_FLOAT4_E1M2)
        HC_DISPATCH(hc_fp4_load_e1m2)(count, to, (const uint8_t *)j->x + at / 2);
    else j->load(count, to, j->x + at, 1);
}

/* A row whose elements are all of one block, or one along which blocks lie. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    struct job *j = ctx;
    const bool along = j->inner == 1;
    const size_t length = along ? j->n : j->inner, scales = along ? 2 * j->pairs : j->inner;
    float *x = hc_scratch(HC_SCRATCH_C, (length + scales) * sizeof *x), *factor = x + length;
    if (x == NULL) {
        __atomic_store_n(&j->failed, true, __ATOMIC_RELAXED);
        return;
    }
    for (size_t row = begin; row < end; row++) {
        const size_t o = row / j->n, block = row % j->n / BLOCK;
        /* Along rows a row has all its scales; across, each element has its column's, one of a pair. */
        const char *from = along ? j->scale + row * scales
                                 : j->scale + (o * j->pairs + block / 2) * j->inner * 2 + block % 2;
        hc_load_for(ACL_FLOAT8_E8M0, HC_F32)(scales, factor, from, along ? 1 : 2);
        load(j, row * length, length, x);
        HC_DISPATCH(hc_narrow_scale)(length, x, factor, along ? BLOCK : 1);
        j->store(length, j->y + row * length * j->item, 1, x);
    }
}

/* Pieces depend on the shape only. */
static aclnnStatus run_all(const struct hc_call *call, const aclTensor *x, const aclTensor *scale,
                           const aclTensor *y) {
    const struct args *a = call->args;
    struct job j = {.dtype = a->dtype,
                    .x = hc_data(x),
                    .scale = hc_data(scale),
                    .y = hc_data(y),
                    .load = hc_is_fp4(a->dtype) ? NULL : hc_load_for(a->dtype, HC_F32),
                    .store = hc_store_for(y->dtype, HC_F32),
                    .outer = 1,
                    .n = (size_t)y->shape[a->axis],
                    .inner = 1,
                    .item = (size_t)y->item_size};
    j.pairs = hc_ceil_div(hc_ceil_div(j.n, BLOCK), 2);
    for (int32_t d = 0; d < y->rank; d++) {
        if (d < a->axis) j.outer *= (size_t)y->shape[d];
        if (d > a->axis) j.inner *= (size_t)y->shape[d];
    }
    if (y->numel == 0) return 0;
    const size_t rows = j.inner == 1 ? j.outer : j.outer * j.n, length = j.inner == 1 ? j.n : j.inner;
    hc_parallel_for(rows, hc_max_size(GRAIN / length, 1), run_rows, &j);
    HC_CHECK(!j.failed, ACLNN_ERR_INNER, "%s: out of host memory for rows of %zu elements", call->name,
             length);
    return 0;
}

/* Bytes of x and scales as they lie, where they lie contiguously and apart from y. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 2);
    aclTensor x, scale, y;
    void *owned[3] = {NULL};
    aclnnStatus status = hc_contiguous_apart(hc_arg(call, 0), hc_arg(call, 0)->dtype, out, &x, &owned[0]);
    if (status == 0) status = hc_contiguous_apart(hc_arg(call, 1), ACL_FLOAT8_E8M0, out, &scale, &owned[1]);
    if (status == 0) status = hc_contiguous_out(out, out->dtype, &y, &owned[2]);
    if (status == 0) status = run_all(call, &x, &scale, &y);
    if (status == 0 && owned[2] != NULL) status = hc_copy(out, &y);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return status;
}

/* torch_npu.npu_anti_mx_quant. x and its scales are checked as results of the quantisation that y could be
 * the input of. */
HC_API aclnnStatus aclnnAntiMxQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *mxscale,
                                                    int64_t axis, int64_t dstType, const aclTensor *y,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnAntiMxQuant";
    struct hc_mx mx;
    HC_CHECK(x != NULL && y != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, x == NULL ? "x" : "y");
    HC_CHECK(hc_is_narrow(x->dtype) && x->dtype != ACL_HIFLOAT8, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float8_e4m3fn, float8_e5m2 or float4", NAME, HC_SHOW(x));
    HC_CHECK(hc_fits_f32(y->dtype) && (int64_t)y->dtype == dstType, ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, dstType %lld, wanted float32, float16 or bfloat16 of both", NAME, HC_SHOW(y),
             (long long)dstType);
    const int64_t d = hc_wrap_dim(axis, x->rank);
    HC_CHECK(d >= 0 && x->rank >= 1 && x->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: axis is %lld, x is %s", NAME, (long long)axis, HC_SHOW(x));
    HC_TRY(hc_mx_check(NAME, "rint", x->dtype, BLOCK, 0, 0, &mx));
    HC_TRY(hc_mx_check_outputs(NAME, &mx, y, (int32_t)d, "x", x, "mxscale", mxscale));
    const struct args args = {x->dtype, (int32_t)d};
    const aclTensor bytes = hc_fp4_bytes(x);
    if (hc_is_fp4(x->dtype)) x = &bytes;
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_IN(mxscale), HC_OUT(y));
}
HC_OP_LAUNCH(aclnnAntiMxQuant)
