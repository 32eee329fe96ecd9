// SPDX-License-Identifier: Apache-2.0
/* Product with weights of int8 or int4: y = x @ ((weight + antiquantOffset) * antiquantScale) + bias, or of
 * fp8, hifloat8 or fp4, without an offset and with scales that may be e8m0.
 *
 * Scale and offset are one number, one for each column, or one for each column and group of rows. With a
 * quantScale the result is y = round(product * quantScale + quantOffset) in int8. Weights become float32,
 * some columns of all rows at a time, and the product is hc_gemm's: the memory for them stays small, and
 * nothing is rounded to 16 bits before the end. */
#include "dequant.h"
#include "gemm.h"
#include "int4.h"
#include "narrow.h"
#include "quant_param.h"
#include "weight_product.h"

#include <string.h>

enum slot { X, WEIGHT, SCALE, SHIFT, QUANT_SCALE, QUANT_OFFSET, BIAS, Y, SLOTS };
enum { COLUMNS = 512 }; /* rounded to int8 at a time */

struct args {
    int64_t group;     /* rows of a group; 0: all of them are one */
    aclDataType dtype; /* of the weight as it was given: fp4 are bytes in the plan */
};

/* Clients without a type of fp4 keep eight of them in a float32, as eight int4 in an int32. */
static bool is_packed(const aclTensor *weight) {
    return weight->dtype == ACL_INT32 || weight->dtype == ACL_FLOAT;
}
/* Whether such a weight is of fp8, hifloat8 or fp4. */
static bool is_narrow(aclDataType weight) { return hc_is_narrow(weight) || weight == ACL_FLOAT; }

/* As clients without a type of e8m0 give them. */
static aclTensor seen_scale(const aclTensor *scale, aclDataType weight_dtype) {
    aclTensor seen = *scale;
    const bool bytes = scale->dtype == ACL_UINT8 && is_narrow(weight_dtype);
    if (bytes) seen.dtype = ACL_FLOAT8_E8M0;
    return seen;
}

/* ---- phase two ---- */

/* Batches of weights one after the other, with the batch of x that belongs to each. */
static aclnnStatus multiply_batches(struct hc_weight_product *j, const aclTensor *x, const aclTensor *weight,
                                    const aclTensor *bias, const aclTensor *out) {
    const int32_t batch_rank = weight->rank - 2;
    size_t batches = 1;
    for (int32_t d = 0; d < batch_rank; d++) batches *= (size_t)weight->shape[d];
    aclnnStatus status = 0;
    for (size_t b = 0; b < batches && status == 0; b++) {
        aclTensor one[3] = {*x, *weight, *out};
        for (int i = 0; i < 3 && batch_rank > 0; i++) {
            size_t rest = b;
            const bool has = one[i].rank > 2; /* x of two dimensions serves all */
            for (int32_t d = batch_rank - 1; d >= 0 && has; d--) {
                one[i].offset += (int64_t)(rest % (size_t)weight->shape[d]) * one[i].stride[d];
                rest /= (size_t)weight->shape[d];
            }
            for (int32_t d = 0; d < 2; d++) {
                one[i].shape[d] = one[i].shape[one[i].rank - 2 + d];
                one[i].stride[d] = one[i].stride[one[i].rank - 2 + d];
            }
            one[i].rank = 2;
        }
        status = hc_weight_product(j, &one[0], &one[1], bias, &one[2]);
    }
    return status;
}

/* The bytes of fp4 in float32, along the dimension that is packed. */
static aclnnStatus take_bytes(const aclTensor *t, aclTensor *view, void **owned) {
    const int32_t last = t->rank - 1, dim = hc_int4_dim(t);
    const aclTensor source = dim == last ? *t : hc_transpose_view(t, dim, last);
    HC_TRY(hc_contiguous(&source, ACL_FLOAT, view, owned));
    int64_t shape[HC_MAX_RANK];
    memcpy(shape, view->shape, sizeof shape);
    shape[last] *= (int64_t)sizeof(float);
    const aclTensor bytes = hc_tensor_view(ACL_UINT8, shape, t->rank, hc_data(view));
    *view = dim == last ? bytes : hc_transpose_view(&bytes, dim, last);
    return 0;
}

/* The weight as int8, as it is, or as bytes of fp4; contiguous along its rows or columns. */
static aclnnStatus take_weight(const aclTensor *t, aclTensor *view, void **owned) {
    if (t->dtype == ACL_INT32) return hc_int4_unpack(t, view, owned);
    if (t->dtype == ACL_FLOAT) return take_bytes(t, view, owned);
    *view = *t;
    if (t->stride[t->rank - 1] == 1 || t->stride[t->rank - 2] == 1) return 0;
    return hc_contiguous(t, t->dtype, view, owned);
}

/* A number, or one for each column and group, as float32; zeros where there is no tensor. */
static aclnnStatus take_numbers(const aclTensor *t, size_t count, float **to) {
    *to = hc_block_take_zeroed(t != NULL ? hc_numel(t) : count, sizeof **to);
    HC_CHECK(*to != NULL, ACLNN_ERR_INNER, "out of host memory for %zu scales", count);
    if (t == NULL) return 0;
    const aclTensor copy = hc_tensor_view(ACL_FLOAT, t->shape, t->rank, *to);
    return hc_copy(&copy, t);
}

/* int8 results from the float32 product: rows of n. */
struct requant {
    const float *from, *scale, *offset;
    int8_t *to;
    size_t n, scales;
};
static void requantise(void *ctx, size_t begin, size_t end) {
    const struct requant *q = ctx;
    float y[COLUMNS];
    for (size_t row = begin; row < end; row++) {
        for (size_t i = 0; i < q->n; i += COLUMNS) {
            const size_t n = hc_min_size(COLUMNS, q->n - i);
            const float *x = q->from + row * q->n + i;
            for (size_t c = 0; c < n; c++) {
                const size_t at = q->scales > 1 ? i + c : 0;
                y[c] = x[c] * q->scale[at] + q->offset[at];
            }
            HC_DISPATCH(hc_round_i8)(n, q->to + row * q->n + i, y);
        }
    }
}

/* Scale and offset of the result as float32 side by side: given so, or packed. An offset of its own counts
 * where the packed one is 0. */
static aclnnStatus take_result_scale(const aclTensor *scale, const aclTensor *offset, float **to) {
    const size_t n = hc_numel(scale);
    aclTensor plain;
    void *owned = NULL;
    *to = hc_block_take_zeroed(2 * n, sizeof **to);
    HC_CHECK(*to != NULL, ACLNN_ERR_INNER, "out of host memory for %zu scales", n);
    const aclTensor shift = hc_tensor_view(ACL_FLOAT, scale->shape, scale->rank, *to + n);
    if (offset != NULL) {
        aclTensor spread;
        hc_broadcast_to(offset, scale->shape, scale->rank, &spread);
        HC_TRY(hc_copy(&shift, &spread));
    }
    if (hc_fits_f32(scale->dtype)) {
        const aclTensor copy = hc_tensor_view(ACL_FLOAT, scale->shape, scale->rank, *to);
        return hc_copy(&copy, scale);
    }
    HC_TRY(hc_contiguous(scale, scale->dtype, &plain, &owned));
    for (size_t i = 0; i < n; i++) {
        const uint64_t param = ((const uint64_t *)hc_data(&plain))[i];
        (*to)[i] = hc_quant_param_scale(param);
        if (hc_quant_param_offset(param) != 0) (*to)[n + i] = hc_quant_param_offset(param);
    }
    hc_block_give(owned);
    return 0;
}

/* The product as float32, then rounded into the contiguous `y`. */
static aclnnStatus run_to_int8(const struct hc_call *call, struct hc_weight_product *j, const aclTensor *x,
                               const aclTensor *weight, const aclTensor *bias, const aclTensor *y) {
    const aclTensor *scale = hc_arg(call, QUANT_SCALE);
    const size_t n = (size_t)y->shape[y->rank - 1];
    float *numbers = NULL, *memory = hc_block_take_array(hc_numel(y), sizeof *memory);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for the product", call->name);
    const aclTensor out = hc_tensor_view(ACL_FLOAT, y->shape, y->rank, memory);
    aclnnStatus status = multiply_batches(j, x, weight, bias, &out);
    if (status == 0) status = take_result_scale(scale, hc_arg(call, QUANT_OFFSET), &numbers);
    if (status == 0) {
        struct requant q = {memory, numbers,        numbers + hc_numel(scale), (int8_t *)hc_data(y),
                            n,      hc_numel(scale)};
        hc_parallel_for(hc_numel(y) / n, hc_max_size(16384 / n, 1), requantise, &q);
    }
    hc_block_give(memory);
    hc_block_give(numbers);
    return status;
}

/* Whatever lies in y's memory is copied; y is contiguous while it is written. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *given_y = hc_arg(call, Y), *given_bias = hc_arg(call, BIAS);
    aclTensor x, weight, bias, y;
    void *own_x = NULL, *own_weight = NULL, *own_bias = NULL, *own_y = NULL;
    float *scale = NULL, *shift = NULL;
    if (given_y->numel == 0) return 0;
    aclnnStatus status = hc_apart(hc_arg(call, X), hc_arg(call, X)->dtype, given_y, &x, &own_x);
    if (status == 0) status = take_weight(hc_arg(call, WEIGHT), &weight, &own_weight);
    const aclTensor numbers = seen_scale(hc_arg(call, SCALE), a->dtype);
    if (status == 0) status = take_numbers(&numbers, 1, &scale);
    if (status == 0) status = take_numbers(hc_arg(call, SHIFT), hc_numel(hc_arg(call, SCALE)), &shift);
    if (status == 0 && given_bias != NULL)
        status = hc_contiguous_apart(given_bias, given_bias->dtype, given_y, &bias, &own_bias);
    if (status == 0) status = hc_contiguous_out(given_y, given_y->dtype, &y, &own_y);
    if (status == 0) {
        struct hc_weight_product j = {.name = call->name,
                                      .scale = scale,
                                      .shift = shift,
                                      .each = hc_numel(hc_arg(call, SCALE)) > 1,
                                      .group = (size_t)a->group,
                                      .fp4 = a->dtype == ACL_FLOAT ? ACL_FLOAT4_E2M1 : a->dtype};
        const aclTensor *const add = given_bias != NULL ? &bias : NULL;
        status = hc_arg(call, QUANT_SCALE) != NULL ? run_to_int8(call, &j, &x, &weight, add, &y)
                                                   : multiply_batches(&j, &x, &weight, add, &y);
        if (status == 0 && own_y != NULL) status = hc_copy(given_y, &y);
    }
    hc_block_give(own_x);
    hc_block_give(own_weight);
    hc_block_give(own_bias);
    hc_block_give(own_y);
    hc_block_give(scale);
    hc_block_give(shift);
    return status;
}

/* ---- phase one ---- */

/* Both versions. */
struct request {
    const char *name;
    const aclTensor *in[SLOTS];
    int64_t group;
};

/* The product's shape: batches of x and weight are the same, or one of them has none. */
static aclnnStatus check_product(const struct request *r, const aclTensor *weight) {
    const aclTensor *x = r->in[X], *y = r->in[Y], *longer = x->rank > 2 ? x : weight;
    const int32_t rx = x->rank - 2, rw = weight->rank - 2;
    HC_CHECK(x->shape[rx + 1] == weight->shape[rw], ACLNN_ERR_PARAM_INVALID,
             "%s: x %s and weight %s cannot be multiplied: %lld columns, %lld rows", r->name, HC_SHOW(x),
             HC_SHOW(weight), (long long)x->shape[rx + 1], (long long)weight->shape[rw]);
    HC_CHECK(rx == 0 || rw == 0 ||
                 (rx == rw && memcmp(x->shape, weight->shape, (size_t)rx * sizeof(int64_t)) == 0),
             ACLNN_ERR_PARAM_INVALID, "%s: x is %s, weight %s: wanted the same leading dimensions, or none",
             r->name, HC_SHOW(x), HC_SHOW(weight));
    aclTensor wanted = *longer;
    wanted.shape[wanted.rank - 2] = x->shape[rx];
    wanted.shape[wanted.rank - 1] = weight->shape[rw + 1];
    HC_CHECK(hc_same_shape(y, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, wanted the shape of the product of x %s and weight %s", r->name, HC_SHOW(y),
             HC_SHOW(x), HC_SHOW(weight));
    return 0;
}

/* Types and dimensions of x and the weight. */
static aclnnStatus check_operands(const struct request *r) {
    const aclTensor *x = r->in[X], *weight = r->in[WEIGHT];
    HC_CHECK(hc_fits_f32(x->dtype) && x->rank >= 2, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float16, bfloat16 or float32 of two dimensions at least", r->name,
             HC_SHOW(x));
    HC_CHECK((weight->dtype == ACL_INT8 || is_packed(weight) || hc_is_narrow(weight->dtype)) &&
                 weight->rank >= 2 && weight->rank <= HC_GEMM_BATCH_DIMS && x->rank <= HC_GEMM_BATCH_DIMS,
             ACLNN_ERR_PARAM_INVALID,
             "%s: weight is %s, wanted int8, fp8, hifloat8 or fp4, int32 that holds eight int4 or float32 "
             "that holds "
             "eight fp4, of two dimensions at least",
             r->name, HC_SHOW(weight));
    HC_CHECK(r->group >= 0, ACLNN_ERR_PARAM_INVALID, "%s: antiquantGroupSize is %lld, wanted 0 or more",
             r->name, (long long)r->group);
    if (hc_is_fp4(weight->dtype)) HC_TRY(hc_fp4_check(r->name, "weight", weight));
    const bool four = hc_is_fp4(weight->dtype) || weight->dtype == ACL_FLOAT;
    HC_CHECK(!four || r->group % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantGroupSize is %lld, wanted an even number with a weight of fp4 %s", r->name,
             (long long)r->group, HC_SHOW(weight));
    HC_CHECK(!is_narrow(weight->dtype) || r->in[SHIFT] == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantOffsetOptional is %s, wanted none with weight %s", r->name,
             r->in[SHIFT] != NULL ? HC_SHOW(r->in[SHIFT]) : "null", HC_SHOW(weight));
    return 0;
}

/* Scale and offset of the weight: for each column, and group of rows where there are groups. */
static aclnnStatus check_numbers(const struct request *r, enum slot slot, const char *arg,
                                 const aclTensor *weight) {
    const aclTensor seen = seen_scale(r->in[slot], r->in[WEIGHT]->dtype), *t = &seen;
    const bool exponents = t->dtype == ACL_FLOAT8_E8M0 && is_narrow(r->in[WEIGHT]->dtype);
    const int64_t k = weight->shape[weight->rank - 2], n = weight->shape[weight->rank - 1];
    const int64_t groups = r->group > 0 ? (k + r->group - 1) / r->group : 1;
    const bool grouped = r->group == 0 || (t->rank == 2 && t->shape[0] == groups && t->shape[1] == n);
    HC_CHECK(hc_fits_f32(t->dtype) || exponents, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted float16, bfloat16 or float32, or e8m0 of fp8 and fp4", r->name, arg,
             HC_SHOW(t));
    HC_CHECK(grouped && (t->numel == groups * n || (t->numel == 1 && r->group == 0)), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %s[%lld,%lld] for weight %s", r->name, arg, HC_SHOW(t),
             r->group == 0 ? "one element or " : "", (long long)groups, (long long)n, HC_SHOW(weight));
    HC_CHECK(slot == SCALE || t->numel == r->in[SCALE]->numel, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of antiquantScale %s", r->name, arg, HC_SHOW(t),
             HC_SHOW(r->in[SCALE]));
    return 0;
}

/* Quantised results, and the type of those that are not. */
static aclnnStatus check_result(const struct request *r, int64_t n) {
    const aclTensor *scale = r->in[QUANT_SCALE], *offset = r->in[QUANT_OFFSET], *y = r->in[Y];
    HC_CHECK(scale != NULL || offset == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: quantOffsetOptional is given without quantScaleOptional", r->name);
    HC_CHECK(scale != NULL ? y->dtype == ACL_INT8 : hc_fits_f32(y->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, wanted %s", r->name, HC_SHOW(y),
             scale != NULL ? "int8 with quantScaleOptional" : "float16, bfloat16 or float32");
    if (scale == NULL) return 0;
    const bool packed = scale->dtype == ACL_INT64 || scale->dtype == ACL_UINT64;
    HC_CHECK((packed || hc_fits_f32(scale->dtype)) && (scale->numel == 1 || scale->numel == n),
             ACLNN_ERR_PARAM_INVALID,
             "%s: quantScaleOptional is %s, wanted 1 or %lld elements of uint64 or float32", r->name,
             HC_SHOW(scale), (long long)n);
    HC_CHECK(offset == NULL ||
                 (hc_fits_f32(offset->dtype) && (offset->numel == 1 || hc_same_shape(offset, scale))),
             ACLNN_ERR_PARAM_INVALID,
             "%s: quantOffsetOptional is %s, wanted float32 as quantScaleOptional %s", r->name,
             HC_SHOW(offset), HC_SHOW(scale));
    return 0;
}

static aclnnStatus plan(const struct request *r, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *const x = r->in[X], *const weight = r->in[WEIGHT], *const y = r->in[Y];
    HC_CHECK(x && weight && y && r->in[SCALE], ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", r->name,
             !x        ? "x"
             : !weight ? "weight"
             : !y      ? "y"
                       : "antiquantScale");
    HC_TRY(check_operands(r));
    const aclTensor shape = is_packed(weight) ? hc_int4_shape(weight) : *weight;
    const int64_t n = shape.shape[shape.rank - 1];
    HC_TRY(check_product(r, &shape));
    HC_TRY(check_numbers(r, SCALE, "antiquantScale", &shape));
    if (r->in[SHIFT] != NULL) HC_TRY(check_numbers(r, SHIFT, "antiquantOffsetOptional", &shape));
    HC_TRY(check_result(r, n));
    const aclTensor *const bias = r->in[BIAS];
    HC_CHECK(bias == NULL || (hc_fits_f32(bias->dtype) && bias->numel == n), ACLNN_ERR_PARAM_INVALID,
             "%s: biasOptional is %s, wanted %lld elements of floating point", r->name, HC_SHOW(bias),
             (long long)n);
    const struct args args = {r->group, weight->dtype};
    const aclTensor bytes = hc_fp4_bytes(weight);
    const struct hc_operand operands[SLOTS] = {HC_IN(x),
                                               {&bytes, NULL, HC_ROLE_IN, "weight"},
                                               HC_IN(r->in[SCALE]),
                                               HC_IN_OPT(r->in[SHIFT]),
                                               HC_IN_OPT(r->in[QUANT_SCALE]),
                                               HC_IN_OPT(r->in[QUANT_OFFSET]),
                                               HC_IN_OPT(bias),
                                               HC_OUT(y)};
    const struct hc_plan p = {.name = r->name,
                              .run = run,
                              .args = &args,
                              .args_size = sizeof args,
                              .operands = operands,
                              .num_operands = SLOTS,
                              .flops = 2 * (uint64_t)y->numel * (uint64_t)shape.shape[shape.rank - 2]};
    return hc_plan(&p, workspaceSize, executor);
}

/* torch_npu.npu_weight_quant_batchmatmul. */
HC_API aclnnStatus aclnnWeightQuantBatchMatmulV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *weight, const aclTensor *antiquantScale,
    const aclTensor *antiquantOffsetOptional, const aclTensor *quantScaleOptional,
    const aclTensor *quantOffsetOptional, const aclTensor *biasOptional, int antiquantGroupSize,
    const aclTensor *y, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct request r = {"aclnnWeightQuantBatchMatmulV2",
                              {x, weight, antiquantScale, antiquantOffsetOptional, quantScaleOptional,
                               quantOffsetOptional, biasOptional, y},
                              antiquantGroupSize};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnWeightQuantBatchMatmulV2)

/* innerPrecise allows less precision for speed: there is one way here. */
HC_API aclnnStatus aclnnWeightQuantBatchMatmulV3GetWorkspaceSize(
    const aclTensor *x, const aclTensor *weight, const aclTensor *antiquantScale,
    const aclTensor *antiquantOffsetOptional, const aclTensor *quantScaleOptional,
    const aclTensor *quantOffsetOptional, const aclTensor *biasOptional, int antiquantGroupSize,
    int innerPrecise, const aclTensor *y, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnWeightQuantBatchMatmulV3";
    HC_CHECK(innerPrecise == 0 || innerPrecise == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: innerPrecise is %d, wanted 0 or 1", NAME, innerPrecise);
    const struct request r = {NAME,
                              {x, weight, antiquantScale, antiquantOffsetOptional, quantScaleOptional,
                               quantOffsetOptional, biasOptional, y},
                              antiquantGroupSize};
    return plan(&r, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnWeightQuantBatchMatmulV3)
