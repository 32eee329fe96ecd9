// SPDX-License-Identifier: Apache-2.0
/* Checks, batches and operands of quant_narrow.h; the product is narrow.h's. A batch is a product of its own:
 * its matrices become floats in memory that is given back before the next. */
#include "quant_narrow.h"

#include <string.h>

#include "dequant.h"

enum slot { X1, X2, X1_SCALE, X2_SCALE, BIAS, OUT };

struct args {
    bool turned[2], accumulate;
    aclDataType dtypes[2]; /* of x1 and x2: fp4 are bytes in the plan */
    bool blocks[2];        /* their scales are those of blocks */
};

/* ---- one matrix of a batch ---- */

/* The last `rank` dimensions of t at a batch index over `batch` sizes, broadcast. */
static aclTensor matrix_at(const aclTensor *t, int32_t rank, const int64_t *batch, int32_t batch_rank,
                           size_t index) {
    aclTensor m = *t;
    const int32_t own = t->rank - rank;
    for (int32_t d = batch_rank - 1, o = own - 1; d >= 0; d--, o--) {
        const size_t at = index % (size_t)batch[d];
        index /= (size_t)batch[d];
        if (o >= 0 && t->shape[o] > 1) m.offset += (int64_t)at * t->stride[o];
    }
    memmove(m.shape, t->shape + own, (size_t)rank * sizeof *m.shape);
    memmove(m.stride, t->stride + own, (size_t)rank * sizeof *m.stride);
    m.rank = rank;
    m.numel = 1;
    for (int32_t d = 0; d < rank; d++) m.numel *= m.shape[d];
    return m;
}

/* x1 as [m, k], x2 as [n, k]: i says which. */
static aclTensor oriented(const aclTensor *matrix, int i, bool turned) {
    return (i == 1) != turned ? hc_transpose_view(matrix, 0, 1) : *matrix;
}

/* ---- phase two ---- */

struct job {
    const struct hc_call *call;
    const struct args *a;
    struct hc_dequant by; /* scales of columns */
    aclTensor rows, bias; /* float32, contiguous; base NULL: none */
    int64_t batch[HC_MAX_RANK];
    int32_t batch_rank;
};

/* One batch's product. Scales of rows and the bias follow each other in batches where they have them. */
static aclnnStatus run_batch(const struct job *j, size_t index) {
    const struct hc_call *call = j->call;
    struct hc_narrow_product p = {.name = call->name, .accumulate = j->a->accumulate};
    aclTensor scales[2];
    struct hc_narrow_scales *of[] = {&p.a_scales, &p.b_scales};
    for (int i = 0; i < 2; i++) {
        const aclTensor t = hc_fp4_of_bytes(hc_arg(call, i == 0 ? X1 : X2), j->a->dtypes[i]);
        aclTensor m = matrix_at(&t, 2, j->batch, j->batch_rank, index);
        /* Strides of fp4 count elements, offsets bytes. */
        if (hc_is_fp4(t.dtype)) m.offset = t.offset + (m.offset - t.offset) / 2;
        *(i == 0 ? &p.a : &p.b) = m = oriented(&m, i, j->a->turned[i]);
        if (!j->a->blocks[i]) continue;
        const aclTensor *scale = hc_arg(call, i == 0 ? X1_SCALE : X2_SCALE);
        const aclTensor s =
            matrix_at(scale, scale->dtype == ACL_FLOAT8_E8M0 ? 3 : 2, j->batch, j->batch_rank, index);
        scales[i] = oriented(&s, i, j->a->turned[i]);
        HC_TRY(hc_narrow_check_scales(call->name, i == 0 ? "x1Scale" : "x2Scale", &scales[i], m.shape[0],
                                      m.shape[1], of[i]));
    }
    p.out = matrix_at(hc_arg(call, OUT), 2, j->batch, j->batch_rank, index);
    if (!j->a->blocks[1]) p.column_scale = j->by.scale, p.column_each = j->by.scale_each;
    if (j->rows.base != NULL) {
        p.row_scales = hc_min_size(hc_numel(&j->rows), (size_t)p.out.shape[0]);
        p.row_scale = (const float *)hc_data(&j->rows) + index * p.row_scales % hc_numel(&j->rows);
    }
    if (j->bias.base != NULL)
        p.bias = (const float *)hc_data(&j->bias) + index * (size_t)p.out.shape[1] % hc_numel(&j->bias);
    return hc_narrow_product(&p);
}

/* A vector as float32, apart from what is written. */
static aclnnStatus take(const aclTensor *t, const aclTensor *out, aclTensor *view, void **owned) {
    return t != NULL ? hc_contiguous_apart(t, ACL_FLOAT, out, view, owned) : 0;
}

/* Outputs that share memory with an operand get a copy of their own: operands are all read before out is
 * written within a batch, so that only further batches could see it. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, OUT);
    struct job j = {.call = call, .a = call->args, .batch_rank = out->rank - 2};
    void *owned[3] = {NULL};
    size_t batches = 1;
    if (out->numel == 0) return 0;
    for (int32_t d = 0; d < j.batch_rank; d++) batches *= (size_t)(j.batch[d] = out->shape[d]);
    aclnnStatus status = j.a->blocks[0] ? 0 : take(hc_arg(call, X1_SCALE), out, &j.rows, &owned[0]);
    if (status == 0) status = take(hc_arg(call, BIAS), out, &j.bias, &owned[1]);
    if (status == 0 && !j.a->blocks[1])
        status = hc_dequant_scale(hc_arg(call, X2_SCALE), NULL, out->dtype, &j.by, &owned[2]);
    for (size_t i = 0; i < batches && status == 0; i++) status = run_batch(&j, i);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return status;
}

/* ---- phase one ---- */

/* Of any type that narrow.h opens. */
static aclnnStatus check_matrix(const char *name, const char *arg, const aclTensor *t) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(hc_is_narrow(t->dtype) && t->rank >= 2 && t->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted float8_e4m3fn, float8_e5m2, hifloat8 or float4 of two dimensions at least",
             name, arg, HC_SHOW(t));
    return hc_is_fp4(t->dtype) ? hc_fp4_check(name, arg, t) : 0;
}

/* The shape of the product, and k. Types of both sides need not be equal, but their kind must. */
static aclnnStatus check_product(const struct hc_quant_narrow *q, int64_t *k) {
    const char *name = q->name;
    HC_TRY(check_matrix(name, "x1", q->x1));
    HC_TRY(check_matrix(name, "x2", q->x2));
    HC_CHECK(hc_is_fp4(q->x1->dtype) == hc_is_fp4(q->x2->dtype) &&
                 (q->x1->dtype == ACL_HIFLOAT8) == (q->x2->dtype == ACL_HIFLOAT8),
             ACLNN_ERR_PARAM_INVALID, "%s: x1 is %s, x2 %s: wanted fp8, hifloat8 or fp4 of both", name,
             HC_SHOW(q->x1), HC_SHOW(q->x2));
    HC_CHECK(q->out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: out is null", name);
    HC_CHECK(hc_fits_f32(q->out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted float32, float16 or bfloat16", name, HC_SHOW(q->out));
    aclTensor left = *q->x1, right = *q->x2;
    if (q->turned[0]) left = hc_transpose_view(&left, left.rank - 2, left.rank - 1);
    if (q->turned[1]) right = hc_transpose_view(&right, right.rank - 2, right.rank - 1);
    const int64_t m = left.shape[left.rank - 2], n = right.shape[right.rank - 1];
    *k = left.shape[left.rank - 1];
    HC_CHECK(*k == right.shape[right.rank - 2], ACLNN_ERR_PARAM_INVALID,
             "%s: x1 %s and x2 %s cannot be multiplied: %lld columns, %lld rows", name, HC_SHOW(q->x1),
             HC_SHOW(q->x2), (long long)*k, (long long)right.shape[right.rank - 2]);
    int64_t shape[HC_MAX_RANK];
    int32_t rank;
    left.rank -= 2, right.rank -= 2;
    HC_CHECK(hc_broadcast_shape(&left, &right, shape, &rank), ACLNN_ERR_PARAM_INVALID,
             "%s: the leading dimensions of x1 %s and x2 %s do not broadcast", name, HC_SHOW(q->x1),
             HC_SHOW(q->x2));
    shape[rank] = m, shape[rank + 1] = n;
    const aclTensor wanted = hc_tensor_view(q->out->dtype, shape, rank + 2, NULL);
    HC_CHECK(hc_same_shape(q->out, &wanted), ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted the shape of %s",
             name, HC_SHOW(q->out), HC_SHOW(&wanted));
    return 0;
}

/* Numbers of blocks have the dimension of k, which is more than one long, unless there is one block in all.
 */
static aclnnStatus check_scale(const struct hc_quant_narrow *q, int i, int64_t k, bool wanted, bool *blocks) {
    const char *arg = i == 0 ? "x1Scale" : "x2Scale";
    const aclTensor *scale = i == 0 ? q->x1_scale : q->x2_scale, *out = q->out;
    const int64_t rows = out->shape[out->rank - (i == 0 ? 2 : 1)];
    const bool mx = scale->dtype == ACL_FLOAT8_E8M0;
    const int32_t rank = mx ? 3 : 2;
    *blocks = mx;
    if (scale->rank >= rank) {
        aclTensor last = matrix_at(scale, rank, NULL, 0, 0);
        last = oriented(&last, i, q->turned[i]);
        *blocks = wanted || mx || last.shape[1] != 1 || (last.shape[0] != 1 && last.shape[0] != rows);
        int64_t extra = scale->numel;
        for (int32_t d = 0; d < rank; d++) extra /= hc_max_i64(last.shape[d], 1);
        HC_CHECK(!*blocks || scale->rank == rank || scale->rank == out->rank + rank - 2 || extra == 1,
                 ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted the batch dimensions of out %s", q->name, arg,
                 HC_SHOW(scale), HC_SHOW(out));
        for (int32_t d = 0; d < scale->rank - rank && *blocks; d++)
            HC_CHECK(scale->shape[d] == 1 || scale->shape[d] == out->shape[d], ACLNN_ERR_PARAM_INVALID,
                     "%s: %s is %s, wanted the batch dimensions of out %s", q->name, arg, HC_SHOW(scale),
                     HC_SHOW(out));
        struct hc_narrow_scales scales;
        if (*blocks) return hc_narrow_check_scales(q->name, arg, &last, rows, k, &scales);
    }
    const int64_t all = i == 0 ? out->numel / hc_max_i64(out->shape[out->rank - 1], 1) : rows;
    const bool packed = i == 1 && (scale->dtype == ACL_INT64 || scale->dtype == ACL_UINT64);
    HC_CHECK((hc_fits_f32(scale->dtype) || packed) &&
                 (scale->numel == 1 || scale->numel == rows || scale->numel == all),
             ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted 1 or %lld elements of floating point, numbers of blocks, or MX scales",
             q->name, arg, HC_SHOW(scale), (long long)rows);
    return 0;
}

/* One for all batches, or one for each of three dimensions. */
static aclnnStatus check_bias(const struct hc_quant_narrow *q) {
    const aclTensor *bias = q->bias, *out = q->out;
    if (bias == NULL) return 0;
    const int64_t n = out->shape[out->rank - 1];
    const bool each = bias->rank == 3 && out->rank == 3 && bias->shape[0] == out->shape[0];
    HC_CHECK(hc_fits_f32(bias->dtype) && bias->rank > 0 && bias->shape[bias->rank - 1] == n &&
                 bias->numel == (each ? out->shape[0] : 1) * n,
             ACLNN_ERR_PARAM_INVALID, "%s: bias is %s, wanted %lld elements of floating point for out %s",
             q->name, HC_SHOW(bias), (long long)n, HC_SHOW(out));
    return 0;
}

/* fp4 are bytes in the plan, which knows elements only; args keep the types. */
aclnnStatus hc_quant_narrow_plan(const struct hc_quant_narrow *q, uint64_t *workspaceSize,
                                 aclOpExecutor **executor) {
    struct args args = {.turned = {q->turned[0], q->turned[1]}, .accumulate = q->accumulate};
    int64_t k = 0;
    HC_TRY(check_product(q, &k));
    HC_CHECK(q->x2_scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x2Scale is null", q->name);
    HC_TRY(check_scale(q, 1, k, false, &args.blocks[1]));
    if (q->x1_scale != NULL) HC_TRY(check_scale(q, 0, k, args.blocks[1], &args.blocks[0]));
    if (args.blocks[0]) HC_TRY(check_scale(q, 1, k, true, &args.blocks[1]));
    /* A sum over blocks of one side only would have to be scaled block by block. */
    HC_CHECK(args.blocks[0] == args.blocks[1], ACLNN_ERR_PARAM_INVALID,
             "%s: x1Scale is %s, x2Scale %s: wanted scales of blocks for both, or for none", q->name,
             q->x1_scale != NULL ? HC_SHOW(q->x1_scale) : "null", HC_SHOW(q->x2_scale));
    HC_TRY(check_bias(q));
    const aclTensor bytes[] = {hc_fp4_bytes(q->x1), hc_fp4_bytes(q->x2)};
    const bool four = hc_is_fp4(q->x1->dtype);
    const aclTensor *const x1 = four ? &bytes[0] : q->x1, *const x2 = four ? &bytes[1] : q->x2,
                           *const x1Scale = q->x1_scale, *const x2Scale = q->x2_scale, *const bias = q->bias,
                           *const out = q->out;
    args.dtypes[0] = q->x1->dtype, args.dtypes[1] = q->x2->dtype;
    const struct hc_operand operands[] = {
        HC_IN(x1),
        HC_IN(x2),
        HC_IN_OPT(x1Scale),
        HC_IN_OPT(x2Scale),
        HC_IN_OPT(bias),
        q->accumulate ? (struct hc_operand)HC_INOUT(out) : (struct hc_operand)HC_OUT(out)};
    const struct hc_plan plan = {.name = q->name,
                                 .run = run,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = HC_ARRAY_SIZE(operands),
                                 .flops = 2 * (uint64_t)out->numel * (uint64_t)k};
    return hc_plan(&plan, workspaceSize, executor);
}
