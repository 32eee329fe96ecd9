// SPDX-License-Identifier: Apache-2.0
/* From the arguments of a convolution to its sizes; every check of them. */
#include "conv.h"

/* The lists of one number per dimension. */
struct lists {
    int64_t stride[CONV_DIMS], before[CONV_DIMS], after[CONV_DIMS], dilation[CONV_DIMS], extra[CONV_DIMS];
};

/* Dimensions that the tensors lack come first: a row of pixels stays the innermost. */
static int shift_of(const aclTensor *weight) { return CONV_DIMS + 2 - weight->rank; }

/* One number per dimension, at least `least`; a list of one counts for all. */
static aclnnStatus read_list(const struct conv_call *call, const aclIntArray *list, const char *name,
                             int64_t least, int64_t missing, int64_t *to) {
    const int shift = shift_of(call->weight), dims = CONV_DIMS - shift;
    HC_CHECK(list != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name, name);
    HC_CHECK(list->size == 1 || list->size == (size_t)dims, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %zu values, wanted %d (weight is %s)", call->name, name, list->size, dims,
             HC_SHOW(call->weight));
    for (int d = 0; d < CONV_DIMS; d++) {
        to[d] = d < shift ? missing : list->data[list->size == 1 ? 0 : d - shift];
        HC_CHECK(to[d] >= least && to[d] <= HC_MAX_NUMEL, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%d] is %lld, wanted at least %lld", call->name, name, d - shift, (long long)to[d],
                 (long long)least);
    }
    return 0;
}

/* Padding is the same on both sides, or a list of both sides of each dimension. */
static aclnnStatus read_padding(const struct conv_call *call, struct lists *l) {
    const int shift = shift_of(call->weight), dims = CONV_DIMS - shift;
    const aclIntArray *list = call->padding;
    if (list == NULL || list->size != 2 * (size_t)dims || dims == 1) {
        HC_TRY(read_list(call, list, "padding", 0, 0, l->before));
        for (int d = 0; d < CONV_DIMS; d++) l->after[d] = l->before[d];
        return 0;
    }
    const struct aclIntArray sides[] = {{(size_t)dims, (int64_t[CONV_DIMS]){0}},
                                        {(size_t)dims, (int64_t[CONV_DIMS]){0}}};
    for (int d = 0; d < 2 * dims; d++) sides[d % 2].data[d / 2] = list->data[d];
    HC_TRY(read_list(call, &sides[0], "padding", 0, 0, l->before));
    return read_list(call, &sides[1], "padding", 0, 0, l->after);
}

static aclnnStatus read_lists(const struct conv_call *call, struct lists *l) {
    HC_TRY(read_list(call, call->stride, "stride", 1, 1, l->stride));
    HC_TRY(read_list(call, call->dilation, "dilation", 1, 1, l->dilation));
    HC_TRY(read_padding(call, l));
    for (int d = 0; d < CONV_DIMS; d++) l->extra[d] = 0;
    if (call->output_padding == NULL || call->output_padding->size == 0) return 0;
    HC_TRY(read_list(call, call->output_padding, "outputPadding", 0, 0, l->extra));
    for (int d = 0; d < CONV_DIMS; d++) {
        HC_CHECK(l->extra[d] == 0 ||
                     (call->transposed && (l->extra[d] < l->stride[d] || l->extra[d] < l->dilation[d])),
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: outputPadding is %lld, wanted 0 without transposed, and less than stride %lld or "
                 "dilation %lld",
                 call->name, (long long)l->extra[d], (long long)l->stride[d], (long long)l->dilation[d]);
    }
    return 0;
}

/* Ranks, types, channels and groups. */
static aclnnStatus check_tensors(const struct conv_call *call) {
    const aclTensor *input = call->input, *weight = call->weight;
    HC_CHECK(input != NULL && weight != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name,
             input == NULL ? "input" : "weight");
    HC_CHECK(weight->rank >= 3 && weight->rank <= CONV_DIMS + 2, ACLNN_ERR_PARAM_INVALID,
             "%s: weight is %s, wanted 3 to %d dimensions", call->name, HC_SHOW(weight), CONV_DIMS + 2);
    HC_CHECK(input->rank == weight->rank, ACLNN_ERR_PARAM_INVALID,
             "%s: input is %s, weight %s: wanted as many dimensions in both", call->name, HC_SHOW(input),
             HC_SHOW(weight));
    const enum hc_block block = hc_compute_block(input->dtype);
    const aclTensor *others[] = {weight, call->bias, call->output};
    const char *names[] = {"weight", "bias", call->output_name};
    HC_CHECK(block == HC_F32 || block == HC_F64, ACLNN_ERR_PARAM_INVALID,
             "%s: input is %s, wanted float32, bfloat16, float16 or float64", call->name, HC_SHOW(input));
    for (int i = 0; i < 3; i++) {
        HC_CHECK(others[i] == NULL || hc_compute_block(others[i]->dtype) == block, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, input %s: wanted one kind of number (float32, bfloat16 and float16; float64)",
                 call->name, names[i], HC_SHOW(others[i]), HC_SHOW(input));
    }
    const int64_t g = call->groups, outer = weight->shape[0], inner = weight->shape[1];
    HC_CHECK(g >= 1 && g <= HC_MAX_NUMEL, ACLNN_ERR_PARAM_INVALID, "%s: groups is %lld, wanted at least 1",
             call->name, (long long)g);
    HC_CHECK(outer % g == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: weight is %s, wanted a first dimension that groups, %lld, divides", call->name,
             HC_SHOW(weight), (long long)g);
    int64_t numel;
    const int64_t wide[2] = {inner, g};
    HC_CHECK(hc_shape_numel(wide, 2, &numel), ACLNN_ERR_PARAM_INVALID,
             "%s: groups is %lld, weight %s: too many channels", call->name, (long long)g, HC_SHOW(weight));
    const int64_t wanted = call->transposed ? outer : inner * g;
    HC_CHECK(input->shape[1] == wanted, ACLNN_ERR_PARAM_INVALID,
             "%s: input is %s, wanted %lld channels for weight %s and %lld groups", call->name,
             HC_SHOW(input), (long long)wanted, HC_SHOW(weight), (long long)g);
    HC_CHECK(call->cube_math_type >= 0 && call->cube_math_type <= 4, ACLNN_ERR_PARAM_INVALID,
             "%s: cubeMathType is %d, wanted 0 to 4", call->name, call->cube_math_type);
    return 0;
}

/* Elements of the output along dimension d; false where there is no such number. */
static bool output_size(const struct conv_call *call, const struct lists *l, int d, int64_t in,
                        int64_t kernel, int64_t *out) {
    int64_t reach, padded, pads = l->before[d] + l->after[d];
    if (!hc_mul_i64_fits(kernel - 1, l->dilation[d], &reach)) return false;
    if (call->transposed) {
        int64_t span;
        if (in == 0 || !hc_mul_i64_fits(in - 1, l->stride[d], &span) || !hc_add_i64_fits(span, reach, &span))
            return false;
        if (!hc_add_i64_fits(span, l->extra[d] + 1, &span)) return false;
        *out = span - pads;
        return *out > 0 && *out <= HC_MAX_NUMEL;
    }
    padded = in + pads;
    if (padded <= reach) return false;
    *out = (padded - reach - 1) / l->stride[d] + 1;
    return *out <= HC_MAX_NUMEL;
}

/* Each dimension of input, kernel and output, in three dimensions. */
static aclnnStatus read_sizes(const struct conv_call *call, const struct lists *l, struct conv_shape *s) {
    const int shift = shift_of(call->weight);
    for (int d = 0; d < CONV_DIMS; d++) {
        const bool given = d >= shift;
        const int64_t in = given ? call->input->shape[d - shift + 2] : 1;
        int64_t out = 0;
        s->kernel[d] = given ? call->weight->shape[d - shift + 2] : 1;
        HC_CHECK(s->kernel[d] > 0, ACLNN_ERR_PARAM_INVALID, "%s: weight is %s, wanted a kernel of 1 or more",
                 call->name, HC_SHOW(call->weight));
        HC_CHECK(output_size(call, l, d, in, s->kernel[d], &out), ACLNN_ERR_PARAM_INVALID,
                 "%s: input is %s, weight %s: with padding %lld, dilation %lld and stride %lld dimension %d "
                 "of the output would not be at least 1",
                 call->name, HC_SHOW(call->input), HC_SHOW(call->weight), (long long)l->before[d],
                 (long long)l->dilation[d], (long long)l->stride[d], d - shift + 2);
        s->x[d] = call->transposed ? out : in;
        s->y[d] = call->transposed ? in : out;
        s->stride[d] = l->stride[d];
        s->pad[d] = l->before[d];
        s->dilation[d] = l->dilation[d];
    }
    return 0;
}

static aclnnStatus check_outputs(const struct conv_call *call, const struct conv_shape *s) {
    const int shift = shift_of(call->weight);
    const int64_t channels = (int64_t)(s->groups * (call->transposed ? s->cx : s->cy));
    const aclTensor *out = call->output, *bias = call->bias;
    HC_CHECK(bias == NULL || (bias->rank == 1 && bias->shape[0] == channels), ACLNN_ERR_PARAM_INVALID,
             "%s: bias is %s, wanted [%lld]", call->name, HC_SHOW(bias), (long long)channels);
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name, call->output_name);
    int64_t shape[CONV_DIMS + 2] = {call->input->shape[0], channels};
    for (int d = shift; d < CONV_DIMS; d++) shape[d - shift + 2] = call->transposed ? s->x[d] : s->y[d];
    int64_t numel;
    HC_CHECK(hc_shape_numel(shape, call->input->rank, &numel), ACLNN_ERR_PARAM_INVALID,
             "%s: the output would have more elements than a tensor can", call->name);
    const aclTensor wanted = hc_tensor_view(out->dtype, shape, call->input->rank, NULL);
    HC_CHECK(hc_same_shape(out, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %s for input %s and weight %s", call->name, call->output_name,
             HC_SHOW(out), HC_SHOW(&wanted), HC_SHOW(call->input), HC_SHOW(call->weight));
    return 0;
}

aclnnStatus conv_describe(const struct conv_call *call, struct conv_shape *shape) {
    HC_TRY(check_tensors(call));
    struct lists lists;
    HC_TRY(read_lists(call, &lists));
    const aclTensor *w = call->weight;
    *shape = (struct conv_shape){.batch = (size_t)call->input->shape[0],
                                 .groups = (size_t)call->groups,
                                 .cx = (size_t)w->shape[1],
                                 .cy = (size_t)(w->shape[0] / call->groups)};
    HC_TRY(read_sizes(call, &lists, shape));
    return check_outputs(call, shape);
}

aclnnStatus conv_tbc_views(const char *name, const char *const arguments[3], const aclTensor *input,
                           const aclTensor *weight, const aclTensor *output, int64_t pad,
                           struct conv_tbc *t) {
    HC_CHECK(input && weight && output, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             arguments[!input    ? 0
                       : !weight ? 1
                                 : 2]);
    HC_CHECK(input->rank == 3 && weight->rank == 3 && output->rank == 3, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, %s %s, %s %s: wanted 3 dimensions", name, arguments[0], HC_SHOW(input),
             arguments[1], HC_SHOW(weight), arguments[2], HC_SHOW(output));
    const aclTensor x = hc_transpose_view(input, 0, 1), y = hc_transpose_view(output, 0, 1);
    t->x = hc_transpose_view(&x, 1, 2);
    t->y = hc_transpose_view(&y, 1, 2);
    t->w = hc_transpose_view(weight, 0, 2);
    t->one_value = 1, t->pad_value = pad;
    t->one = (aclIntArray){1, &t->one_value};
    t->pad = (aclIntArray){1, &t->pad_value};
    return 0;
}

uint64_t conv_flops(const struct conv_shape *s) {
    return 2 * s->batch * s->groups * s->cy * conv_rows(s) * conv_volume(s->y);
}

bool conv_is_pointwise(const struct conv_shape *s) {
    for (int d = 0; d < CONV_DIMS; d++) {
        if (s->kernel[d] != 1 || s->stride[d] != 1 || s->pad[d] != 0 || s->x[d] != s->y[d]) return false;
    }
    return true;
}

/* A block and what is packed of it stay near the cores; the weights, which are packed again for each, are few
 * beside it. Blocks of one size, in whole vectors. */
size_t conv_block_cols(const struct conv_shape *s, size_t item) {
    enum { BLOCK_BYTES = 2 << 20, LEAST = 512, UNIT = 64 };
    const size_t all = conv_volume(s->y);
    const size_t most = hc_max_size(BLOCK_BYTES / hc_max_size(conv_rows(s) * item, 1), LEAST);
    const size_t even = hc_ceil_div(all, hc_ceil_div(all, most));
    return hc_min_size(hc_ceil_div(even, UNIT) * UNIT, all);
}
