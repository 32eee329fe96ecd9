// SPDX-License-Identifier: Apache-2.0
/* Product of int8 or int4 matrices with exact sums in int32, brought back by scales:
 *
 *     out = (x1 @ x2 + bias) * x2Scale * x1Scale [+ offset]     with a bias of int32
 *     out = (x1 @ x2) * x2Scale * x1Scale + bias                with one of floating point
 *
 * x2Scale is one number or one for each column; x1Scale one, or one for each row. An x2Scale of uint64 is
 * what aclnnTransQuantParam makes and carries an offset (quant_param.h). An offset counts for int8 results
 * only; int32 results are the sums themselves. int4 are unpacked to int8 first. FusedQuantMatmul activates
 * what comes out before it is rounded. Products of fp8, hifloat8 and fp4 are quant_narrow.h's. */
#include "dequant.h"
#include "gemm_i8.h"
#include "int4.h"
#include "quant_groups.h"
#include "quant_narrow.h"

#include <stdatomic.h>
#include <string.h>

enum slot { X1, X2, X1_SCALE, X2_SCALE, OFFSET, BIAS, Y_OFFSET, OUT, SLOTS };

/* The last two dimensions of x1 and x2 are exchanged first. */
struct args {
    const char *name;
    bool turned[2];
    int64_t group; /* steps of k that have scales of their own; 0: all of them are one */
    bool activates;
    enum hc_activation activation;
};

/* ---- phase two ---- */

/* A run: operands as the product reads them; `by` holds everything for batch 0. */
struct job {
    aclTensor x[2], out;
    struct hc_dequant_rows by;
    int32_t batch_rank;
    int64_t batch[HC_MAX_RANK]; /* sizes */
    size_t m, n, k, batches;
    bool bias_each; /* a bias of each batch */
    atomic_int status;
};

/* Offset in elements of a batch in an operand with broadcast batch dimensions. */
static int64_t batch_offset(const struct job *j, const aclTensor *x, size_t batch) {
    int64_t offset = 0;
    for (int32_t d = j->batch_rank - 1; d >= 0; d--) {
        offset += (int64_t)(batch % (size_t)j->batch[d]) * x->stride[d];
        batch /= (size_t)j->batch[d];
    }
    return offset;
}

static aclnnStatus run_batch(const struct job *j, size_t batch) {
    struct hc_dequant_rows by = j->by;
    by.out += batch * j->m * j->n * (size_t)j->out.item_size;
    if (j->bias_each && by.by.bias != NULL) by.by.bias += batch * j->n;
    if (j->bias_each && by.by.whole_bias != NULL) by.by.whole_bias += batch * j->n;
    const int32_t r = j->batch_rank;
    const struct hc_gemm_i8 g = {.m = j->m,
                                 .n = j->n,
                                 .k = j->k,
                                 .a = (const int8_t *)hc_data(&j->x[0]) + batch_offset(j, &j->x[0], batch),
                                 .b = (const int8_t *)hc_data(&j->x[1]) + batch_offset(j, &j->x[1], batch),
                                 .a_row = j->x[0].stride[r],
                                 .a_col = j->x[0].stride[r + 1],
                                 .b_row = j->x[1].stride[r],
                                 .b_col = j->x[1].stride[r + 1],
                                 .finish = hc_dequant_finish,
                                 .ctx = &by};
    return hc_gemm_i8(&g);
}

static void run_batches(void *ctx, size_t begin, size_t end) {
    struct job *j = ctx;
    for (size_t i = begin; i < end; i++) {
        const int status = run_batch(j, i);
        if (status != 0) atomic_store(&j->status, status);
    }
}

/* Rows of all batches are rows of one product where they follow each other and share x2. */
static void fold(struct job *j) {
    if (j->bias_each || j->batches == 1 || !hc_is_contiguous(&j->x[0])) return;
    if (j->by.row_scales > 1 && j->by.row_scales % j->m != 0) return;
    for (int32_t d = 0; d < j->batch_rank; d++)
        if (j->batch[d] > 1 && j->x[1].stride[d] != 0) return;
    const int32_t r = j->batch_rank;
    for (int i = 0; i < 2; i++) { /* matrices only */
        memmove(j->x[i].stride, j->x[i].stride + r, 2 * sizeof *j->x[i].stride);
        j->x[i].rank = 2;
    }
    j->m *= j->batches;
    j->batches = 1;
    j->batch_rank = 0;
}

/* Few large products share the threads, small ones lie side by side. */
static aclnnStatus multiply(struct job *j) {
    enum { SMALL = 1 << 20 };
    fold(j);
    const size_t grain = j->m * j->n * j->k < SMALL ? 1 : j->batches;
    hc_parallel_for(j->batches, grain, run_batches, j);
    return atomic_load(&j->status);
}

/* An operand with the batch dimensions of all; int4 as int8. */
static aclnnStatus take_matrix(const struct hc_call *call, struct job *j, int i, void **owned) {
    const aclTensor *t = hc_arg(call, i == 0 ? X1 : X2);
    const struct args *a = call->args;
    aclTensor view = *t, spread;
    if (a->turned[i]) view = hc_transpose_view(&view, t->rank - 2, t->rank - 1);
    if (t->dtype == ACL_INT32) {
        const aclTensor packed = view;
        HC_TRY(hc_int4_unpack(&packed, &view, owned));
    } else if (hc_overlaps(t, hc_arg(call, OUT))) {
        const aclTensor from = view;
        HC_TRY(hc_contiguous_apart(&from, ACL_INT8, hc_arg(call, OUT), &view, owned));
    }
    int64_t shape[HC_MAX_RANK];
    memcpy(shape, j->batch, (size_t)j->batch_rank * sizeof *shape);
    memcpy(shape + j->batch_rank, view.shape + view.rank - 2, 2 * sizeof *shape);
    hc_broadcast_to(&view, shape, j->batch_rank + 2, &spread);
    j->x[i] = spread;
    return 0;
}

/* Scales of rows, and the bias in its own kind. */
static aclnnStatus take_vectors(const struct hc_call *call, struct job *j, void **own_rows, void **own_bias) {
    const aclTensor *rows = hc_arg(call, X1_SCALE), *bias = hc_arg(call, BIAS), *out = hc_arg(call, OUT);
    aclTensor view;
    if (rows != NULL) {
        HC_TRY(hc_contiguous_apart(rows, ACL_FLOAT, out, &view, own_rows));
        j->by.row_scale = (const float *)hc_data(&view);
        j->by.row_scales = hc_max_size(hc_numel(rows), 1);
    }
    if (bias == NULL) return 0;
    const bool whole = bias->dtype == ACL_INT32;
    HC_TRY(hc_contiguous_apart(bias, whole ? ACL_INT32 : ACL_FLOAT, out, &view, own_bias));
    if (whole) j->by.by.whole_bias = (const int32_t *)hc_data(&view);
    else j->by.by.bias = (const float *)hc_data(&view);
    j->bias_each = bias->rank > 2 && bias->shape[0] > 1;
    return 0;
}

/* With scales of groups; matrices alone. */
static aclnnStatus multiply_groups(const struct hc_call *call, const struct job *j) {
    const struct args *a = call->args;
    const aclTensor *given = hc_arg(call, Y_OFFSET);
    const bool mixed = hc_arg(call, X1)->dtype != hc_arg(call, X2)->dtype;
    struct hc_quant_groups q = {.name = call->name,
                                .x1 = &j->x[0],
                                .x2 = &j->x[1],
                                .scale = j->by.by.scale,
                                .group = (size_t)a->group,
                                .shift = mixed ? HC_INT8_BY_INT4_SHIFT : 0,
                                .rows = j->by.row_scale,
                                .row_scales = j->by.row_scales,
                                .out = &j->out};
    aclTensor offset;
    void *owned = NULL;
    if (given != NULL) {
        HC_TRY(hc_contiguous_apart(given, ACL_FLOAT, hc_arg(call, OUT), &offset, &owned));
        q.offset = (const float *)hc_data(&offset);
    }
    const aclnnStatus status = hc_quant_groups_run(&q);
    hc_block_give(owned);
    return status;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, OUT);
    struct job j = {.batch_rank = out->rank - 2, .batches = 1};
    void *owned[6] = {NULL};
    memcpy(j.batch, out->shape, (size_t)j.batch_rank * sizeof *j.batch);
    for (int32_t d = 0; d < j.batch_rank; d++) j.batches *= (size_t)out->shape[d];
    j.m = (size_t)out->shape[out->rank - 2];
    j.n = (size_t)out->shape[out->rank - 1];
    if (out->numel == 0) return 0;
    aclnnStatus status = hc_contiguous_out(out, out->dtype, &j.out, &owned[0]);
    j.by.out = hc_data(&j.out);
    j.by.dtype = out->dtype;
    j.by.n = j.n;
    j.by.activates = a->activates;
    j.by.activation = a->activation;
    if (status == 0) status = take_matrix(call, &j, 0, &owned[1]);
    if (status == 0) status = take_matrix(call, &j, 1, &owned[2]);
    if (status == 0)
        status =
            hc_dequant_scale(hc_arg(call, X2_SCALE), hc_arg(call, OFFSET), out->dtype, &j.by.by, &owned[3]);
    if (status == 0) status = take_vectors(call, &j, &owned[4], &owned[5]);
    if (status == 0) {
        j.k = (size_t)j.x[0].shape[j.batch_rank + 1];
        status = a->group > 0 ? multiply_groups(call, &j) : multiply(&j);
    }
    if (status == 0 && owned[0] != NULL) status = hc_copy(out, &j.out);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return status;
}

/* ---- phase one ---- */

/* An argument that belongs to types that are not supported; an empty tensor is one that was not given. */
static aclnnStatus refuse(const char *name, const char *arg, const aclTensor *t) {
    HC_CHECK(t == NULL || t->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted none: it belongs to products of int8 with int4", name, arg, HC_SHOW(t));
    return 0;
}

/* A matrix as the product sees it: turned, and int4 by their own number. */
static aclnnStatus matrix_shape(const char *name, const char *arg, const aclTensor *t, bool turned,
                                aclTensor *shape) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(t->dtype == ACL_INT8 || t->dtype == ACL_INT32, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted int8, or int32 that holds eight int4", name, arg, HC_SHOW(t));
    HC_CHECK(t->rank >= 2 && t->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted two dimensions at least", name, arg, HC_SHOW(t));
    *shape = turned ? hc_transpose_view(t, t->rank - 2, t->rank - 1) : *t;
    if (t->dtype == ACL_INT32) *shape = hc_int4_shape(shape);
    return 0;
}

/* Types and shapes, with the dimensions of batches broadcast. */
static aclnnStatus check_product(const aclTensor *x1, const aclTensor *x2, const aclTensor *out,
                                 const struct args *a) {
    aclTensor left, right;
    HC_TRY(matrix_shape(a->name, "x1", x1, a->turned[0], &left));
    HC_TRY(matrix_shape(a->name, "x2", x2, a->turned[1], &right));
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: out is null", a->name);
    const bool mixed = a->group > 0 && x1->dtype == ACL_INT8 && x2->dtype == ACL_INT32;
    HC_CHECK(x1->dtype == x2->dtype || mixed, ACLNN_ERR_PARAM_INVALID,
             "%s: x1 is %s, x2 %s: wanted one type, or int8 and int4 with a groupSize", a->name, HC_SHOW(x1),
             HC_SHOW(x2));
    HC_CHECK(hc_fits_f32(out->dtype) || out->dtype == ACL_INT8 || out->dtype == ACL_INT32,
             ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted float16, bfloat16, float32, int8 or int32",
             a->name, HC_SHOW(out));
    const int64_t m = left.shape[left.rank - 2], k = left.shape[left.rank - 1],
                  n = right.shape[right.rank - 1];
    HC_CHECK(k == right.shape[right.rank - 2], ACLNN_ERR_PARAM_INVALID,
             "%s: x1 %s and x2 %s cannot be multiplied: %lld columns, %lld rows", a->name, HC_SHOW(x1),
             HC_SHOW(x2), (long long)k, (long long)right.shape[right.rank - 2]);
    int64_t shape[HC_MAX_RANK];
    int32_t rank;
    left.rank -= 2, right.rank -= 2;
    HC_CHECK(hc_broadcast_shape(&left, &right, shape, &rank), ACLNN_ERR_PARAM_INVALID,
             "%s: the leading dimensions of x1 %s and x2 %s do not broadcast", a->name, HC_SHOW(x1),
             HC_SHOW(x2));
    shape[rank] = m, shape[rank + 1] = n;
    const aclTensor wanted = hc_tensor_view(out->dtype, shape, rank + 2, NULL);
    HC_CHECK(hc_same_shape(out, &wanted), ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted the shape of %s",
             a->name, HC_SHOW(out), HC_SHOW(&wanted));
    return 0;
}

/* Of groups, check_groups has looked at the scales' number. */
static aclnnStatus check_scales(const aclTensor *x1_scale, const aclTensor *x2_scale, const aclTensor *offset,
                                const aclTensor *out, const struct args *a) {
    const int64_t n = out->shape[out->rank - 1], m = out->shape[out->rank - 2];
    HC_CHECK(x2_scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x2Scale is null", a->name);
    const aclDataType type = x2_scale->dtype;
    HC_CHECK((hc_fits_f32(type) || type == ACL_INT64 || type == ACL_UINT64) &&
                 (a->group > 0 || x2_scale->numel == 1 || x2_scale->numel == n),
             ACLNN_ERR_PARAM_INVALID,
             "%s: x2Scale is %s, wanted 1 or %lld elements of float32, bfloat16 or uint64", a->name,
             HC_SHOW(x2_scale), (long long)n);
    HC_CHECK(x1_scale == NULL ||
                 (hc_fits_f32(x1_scale->dtype) && (x1_scale->numel == 1 || x1_scale->numel == m ||
                                                   (n > 0 && x1_scale->numel == out->numel / n))),
             ACLNN_ERR_PARAM_INVALID, "%s: x1Scale is %s, wanted %lld elements of float32", a->name,
             HC_SHOW(x1_scale), (long long)m);
    HC_CHECK(offset == NULL || (out->dtype == ACL_INT8 && hc_fits_f32(offset->dtype) &&
                                (offset->numel == 1 || offset->numel == n)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: x2Offset is %s, out %s: wanted 1 or %lld elements of float32, and int8 results", a->name,
             HC_SHOW(offset), HC_SHOW(out), (long long)n);
    return 0;
}

/* One for all batches, or one for each of three dimensions. */
static aclnnStatus check_bias(const aclTensor *bias, const aclTensor *out, const struct args *a) {
    if (bias == NULL) return 0;
    const int64_t n = out->shape[out->rank - 1];
    const bool each = bias->rank == 3 && out->rank == 3 && bias->shape[0] == out->shape[0];
    const bool sums = out->dtype == ACL_INT32;
    HC_CHECK(bias->dtype == ACL_INT32 || (!sums && hc_fits_f32(bias->dtype)), ACLNN_ERR_PARAM_INVALID,
             "%s: bias is %s, wanted int32%s", a->name, HC_SHOW(bias),
             sums ? " for int32 results" : " or floating point");
    HC_CHECK(bias->rank > 0 && bias->shape[bias->rank - 1] == n &&
                 bias->numel == (each ? out->shape[0] : 1) * n,
             ACLNN_ERR_PARAM_INVALID, "%s: bias is %s, wanted %lld elements for out %s", a->name,
             HC_SHOW(bias), (long long)n, HC_SHOW(out));
    return 0;
}

/* groupSize holds sizes of groups along m, n and k, 16 bits each: those of k may have scales of their own. */
static aclnnStatus check_groups(int64_t group_size, const aclTensor *x1, const aclTensor *x2,
                                const aclTensor *x2_scale, const aclTensor *x2_offset,
                                const aclTensor *y_offset, const aclTensor *bias, const aclTensor *out,
                                struct args *a) {
    enum { BITS = 16, MASK = (1 << BITS) - 1 };
    const int64_t group = group_size & MASK, n = out->shape[out->rank - 1];
    const bool mixed = x1->dtype != x2->dtype;
    HC_CHECK(group_size >= 0 && group_size >> (2 * BITS) <= 1 && (group_size >> BITS & MASK) <= 1 &&
                 group > 0,
             ACLNN_ERR_PARAM_INVALID, "%s: groupSize is %#llx, wanted groups along k alone", a->name,
             (unsigned long long)group_size);
    const int64_t k =
        x1->shape[x1->rank - (a->turned[0] ? 2 : 1)] * (x1->dtype == ACL_INT32 ? HC_INT4_IN_INT32 : 1);
    HC_CHECK(out->rank == 2 && hc_fits_f32(out->dtype) && k % group == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted floating point of two dimensions for groups of %lld in %lld steps",
             a->name, HC_SHOW(out), (long long)group, (long long)k);
    HC_CHECK(x2_scale != NULL && x2_scale->numel == k / group * n, ACLNN_ERR_PARAM_INVALID,
             "%s: x2Scale is %s, wanted [%lld,%lld]", a->name, x2_scale != NULL ? HC_SHOW(x2_scale) : "null",
             (long long)(k / group), (long long)n);
    HC_CHECK(bias == NULL && x2_offset == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is given with a groupSize, wanted none", a->name, bias != NULL ? "bias" : "x2Offset");
    HC_CHECK(mixed == (y_offset != NULL), ACLNN_ERR_PARAM_INVALID, "%s: yOffset is %s, wanted %s", a->name,
             y_offset != NULL ? HC_SHOW(y_offset) : "null", mixed ? "one: int8 by int4 needs it" : "none");
    HC_CHECK(y_offset == NULL || (y_offset->numel == n && hc_fits_f32(y_offset->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: yOffset is %s, wanted %lld elements of float32", a->name,
             HC_SHOW(y_offset), (long long)n);
    a->group = group;
    return 0;
}

static uint64_t flops(const aclTensor *x1, const aclTensor *out, bool turned) {
    const int64_t k = x1->shape[x1->rank - (turned ? 2 : 1)];
    return 2 * (uint64_t)out->numel * (uint64_t)k * (x1->dtype == ACL_INT32 ? HC_INT4_IN_INT32 : 1);
}

/* What groupSize says of blocks along m, n and k, the scales' shapes say too. */
static aclnnStatus plan_narrow(const struct hc_quant_narrow *q, const aclTensor *offset, int64_t group_size,
                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    enum { BITS = 16, MASK = (1 << BITS) - 1 };
    const int64_t of_k = group_size & MASK;
    HC_TRY(refuse(q->name, "x2Offset", offset));
    HC_CHECK(of_k == 0 || of_k == 32 || of_k == 128, ACLNN_ERR_PARAM_INVALID,
             "%s: groupSize is %#llx, wanted groups of 32 (MX) or 128 along k", q->name,
             (unsigned long long)group_size);
    return hc_quant_narrow_plan(q, workspaceSize, executor);
}

/* Checked operands under the names of the interface. */
static aclnnStatus plan(const struct args *args, const aclTensor *x1, const aclTensor *x2,
                        const aclTensor *x1Scale, const aclTensor *x2Scale, const aclTensor *x2Offset,
                        const aclTensor *bias, const aclTensor *yOffset, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_operand operands[] = {HC_IN(x1),          HC_IN(x2),           HC_IN_OPT(x1Scale),
                                          HC_IN(x2Scale),     HC_IN_OPT(x2Offset), HC_IN_OPT(bias),
                                          HC_IN_OPT(yOffset), HC_OUT(out)};
    const struct hc_plan planned = {.name = args->name,
                                    .run = run,
                                    .args = args,
                                    .args_size = sizeof *args,
                                    .operands = operands,
                                    .num_operands = HC_ARRAY_SIZE(operands),
                                    .flops = flops(x1, out, args->turned[0])};
    return hc_plan(&planned, workspaceSize, executor);
}

/* torch_npu.npu_quant_matmul. */
HC_API aclnnStatus aclnnQuantMatmulV5GetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                      const aclTensor *x1Scale, const aclTensor *x2Scale,
                                                      const aclTensor *yScale, const aclTensor *x1Offset,
                                                      const aclTensor *x2Offset, const aclTensor *yOffset,
                                                      const aclTensor *bias, bool transposeX1,
                                                      bool transposeX2, int64_t groupSize, aclTensor *out,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnQuantMatmulV5";
    struct args args = {.name = NAME, .turned = {transposeX1, transposeX2}, .group = groupSize};
    if (x2Offset != NULL && x2Offset->numel == 0) x2Offset = NULL;
    if (yOffset != NULL && yOffset->numel == 0) yOffset = NULL;
    HC_TRY(refuse(NAME, "yScale", yScale));
    HC_TRY(refuse(NAME, "x1Offset", x1Offset));
    if (x1 != NULL && hc_is_narrow(x1->dtype))
        return plan_narrow(
            &(const struct hc_quant_narrow){
                NAME, x1, x2, x1Scale, x2Scale, bias, out, {transposeX1, transposeX2}, false},
            x2Offset, groupSize, workspaceSize, executor);
    if (groupSize == 0) HC_TRY(refuse(NAME, "yOffset", yOffset));
    HC_TRY(check_product(x1, x2, out, &args));
    if (groupSize != 0) HC_TRY(check_groups(groupSize, x1, x2, x2Scale, x2Offset, yOffset, bias, out, &args));
    HC_TRY(check_scales(x1Scale, x2Scale, x2Offset, out, &args));
    HC_TRY(check_bias(bias, out, &args));
    return plan(&args, x1, x2, x1Scale, x2Scale, x2Offset, bias, yOffset, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantMatmulV5)

/* By the words of the interface. */
static aclnnStatus find_activation(const char *word, struct args *args) {
    static const struct {
        const char *word;
        enum hc_activation kind;
    } WORDS[] = {{"gelu_erf", HC_ACTIVATION_GELU},
                 {"gelu_tanh", HC_ACTIVATION_GELU_TANH},
                 {"relu", HC_ACTIVATION_RELU}};
    HC_CHECK(word != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: fusedOpType is null", args->name);
    for (size_t i = 0; i < HC_ARRAY_SIZE(WORDS) && !args->activates; i++) {
        args->activates = strcmp(word, WORDS[i].word) == 0;
        args->activation = WORDS[i].kind;
    }
    HC_CHECK(args->activates, ACLNN_ERR_PARAM_INVALID,
             "%s: fusedOpType is '%.32s', wanted gelu_erf, gelu_tanh or relu", args->name, word);
    return 0;
}

/* torch_npu.npu_quant_matmul_gelu, which gives none of the other optional operands: what they would mean
 * together with an activation is not known. */
HC_API aclnnStatus aclnnFusedQuantMatmulGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *x1Scale, const aclTensor *x2Scale,
    const aclTensor *yScaleOptional, const aclTensor *x1OffsetOptional, const aclTensor *x2OffsetOptional,
    const aclTensor *yOffsetOptional, const aclTensor *biasOptional, const aclTensor *x3Optional,
    const char *fusedOpType, int64_t groupSizeOptional, aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnFusedQuantMatmul";
    struct args args = {.name = NAME};
    const aclTensor *const absent[] = {yScaleOptional, x1OffsetOptional, x2OffsetOptional, yOffsetOptional,
                                       x3Optional};
    static const char *const absent_names[] = {"yScaleOptional", "x1OffsetOptional", "x2OffsetOptional",
                                               "yOffsetOptional", "x3Optional"};
    HC_TRY(find_activation(fusedOpType, &args));
    for (size_t i = 0; i < HC_ARRAY_SIZE(absent); i++)
        HC_CHECK(absent[i] == NULL || absent[i]->numel == 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted none beside fusedOpType", NAME, absent_names[i], HC_SHOW(absent[i]));
    HC_CHECK(groupSizeOptional == 0, ACLNN_ERR_PARAM_INVALID, "%s: groupSizeOptional is %lld, wanted 0", NAME,
             (long long)groupSizeOptional);
    HC_TRY(check_product(x1, x2, out, &args));
    HC_CHECK(hc_fits_f32(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted float16, bfloat16 or float32", NAME, HC_SHOW(out));
    HC_TRY(check_scales(x1Scale, x2Scale, NULL, out, &args));
    HC_TRY(check_bias(biasOptional, out, &args));
    return plan(&args, x1, x2, x1Scale, x2Scale, NULL, biasOptional, NULL, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFusedQuantMatmul)
