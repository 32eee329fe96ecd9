// SPDX-License-Identifier: Apache-2.0
/* Gradients of a convolution: of its input (conv_data, for a transposed one conv_forward), of its weights
 * (conv_weight) and of its bias (a sum), each where outputMask asks for it. */
#include "conv.h"
#include "reduce.h"

enum { GRADIENTS = 3 };

struct args {
    struct conv_shape shape;
    bool transposed;
    bool wanted[GRADIENTS]; /* of input, weight, bias */
};

/* What is read, contiguous and apart from everything that is written. */
static aclnnStatus make_apart(const struct args *args, const aclTensor *t, const aclTensor *const *gradients,
                              aclTensor *view, void **owned) {
    HC_TRY(hc_contiguous(t, t->dtype, view, owned));
    for (int i = 0; i < GRADIENTS && *owned == NULL; i++) {
        if (args->wanted[i]) HC_TRY(hc_contiguous_apart(t, t->dtype, gradients[i], view, owned));
    }
    return 0;
}

/* A transposed convolution computes x from y: its output is x of the sizes, its input y. */
static aclnnStatus run_input(const struct args *args, const aclTensor *dy, const aclTensor *w,
                             const aclTensor *out) {
    const struct conv_shape *s = &args->shape;
    return args->transposed ? conv_forward(s, dy, w, NULL, out) : conv_data(s, dy, w, NULL, out);
}
static aclnnStatus run_weight(const struct args *args, const aclTensor *dy, const aclTensor *x,
                              const aclTensor *out) {
    const struct conv_shape *s = &args->shape;
    return args->transposed ? conv_weight(s, dy, x, out) : conv_weight(s, x, dy, out);
}

/* tensors: gradOutput, input, weight, then the gradients; owned: of the same. */
static aclnnStatus differentiate(const struct args *args, const aclTensor *const *tensors, void **owned) {
    aclTensor read[GRADIENTS], out;
    for (int i = 0; i < GRADIENTS; i++)
        HC_TRY(make_apart(args, tensors[i], tensors + GRADIENTS, &read[i], &owned[i]));
    const aclTensor *dy = &read[0], *x = &read[1], *w = &read[2];
    for (int i = 0; i < 2; i++) {
        const aclTensor *to = tensors[GRADIENTS + i];
        if (!args->wanted[i]) continue;
        HC_TRY(hc_contiguous_out(to, to->dtype, &out, &owned[GRADIENTS + i]));
        HC_TRY(i == 0 ? run_input(args, dy, w, &out) : run_weight(args, dy, x, &out));
        if (owned[GRADIENTS + i] != NULL) HC_TRY(hc_copy(to, &out));
    }
    const uint32_t all_but_channels = ((1U << dy->rank) - 1) & ~2U;
    return args->wanted[2] ? hc_reduce_sum(dy, all_but_channels, false, tensors[GRADIENTS + 2]) : 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *tensors[2 * GRADIENTS];
    void *owned[2 * GRADIENTS] = {0};
    for (int i = 0; i < 2 * GRADIENTS; i++) tensors[i] = hc_arg(call, i);
    const aclnnStatus code = differentiate(call->args, tensors, owned);
    for (int i = 0; i < 2 * GRADIENTS; i++) hc_block_give(owned[i]);
    return code;
}

/* A gradient has the shape of what it is of, or is not asked for. */
static aclnnStatus check_gradient(const char *name, const char *what, const aclTensor *gradient,
                                  const aclTensor *of) {
    HC_CHECK(gradient != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null, and outputMask asks for it", name,
             what);
    const bool one_kind = hc_compute_block(gradient->dtype) == hc_compute_block(of->dtype);
    HC_CHECK(one_kind && hc_same_shape(gradient, of), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s",
             name, what, HC_SHOW(gradient), HC_SHOW(of));
    return 0;
}

/* outputMask and the gradients that it asks for. */
static aclnnStatus check_gradients(const struct conv_call *call, const aclBoolArray *mask,
                                   const aclTensor *const *gradients, struct args *args) {
    const int64_t channels = call->output->shape[1];
    HC_CHECK(mask != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: outputMask is null", call->name);
    HC_CHECK(mask->size == GRADIENTS, ACLNN_ERR_PARAM_INVALID, "%s: outputMask has %zu values, wanted %d",
             call->name, mask->size, GRADIENTS);
    const aclTensor bias = hc_tensor_view(call->output->dtype, &channels, 1, NULL);
    const aclTensor *of[] = {call->input, call->weight, &bias};
    static const char *const NAMES[] = {"gradInput", "gradWeight", "gradBias"};
    for (int i = 0; i < GRADIENTS; i++) {
        args->wanted[i] = mask->data[i];
        if (mask->data[i]) HC_TRY(check_gradient(call->name, NAMES[i], gradients[i], of[i]));
    }
    return 0;
}

/* call->output is the gradient of the output. */
static aclnnStatus plan(const struct conv_call *call, const aclBoolArray *mask,
                        const aclTensor *const *gradients, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args args = {.transposed = call->transposed};
    HC_TRY(conv_describe(call, &args.shape));
    HC_TRY(check_gradients(call, mask, gradients, &args));
    struct hc_operand operands[2 * GRADIENTS] = {{call->output, NULL, HC_ROLE_IN, "gradOutput"},
                                                 {call->input, NULL, HC_ROLE_IN, "input"},
                                                 {call->weight, NULL, HC_ROLE_IN, "weight"}};
    static const char *const NAMES[] = {"gradInput", "gradWeight", "gradBias"};
    for (int i = 0; i < GRADIENTS; i++)
        operands[GRADIENTS + i] = (struct hc_operand){args.wanted[i] ? gradients[i] : NULL, NULL,
                                                      HC_ROLE_OUT | HC_ROLE_OPTIONAL, NAMES[i]};
    const uint64_t products = (uint64_t)args.wanted[0] + args.wanted[1];
    const struct hc_plan plan = {.name = call->name,
                                 .run = run,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = 2 * GRADIENTS,
                                 .flops = products * conv_flops(&args.shape)};
    return hc_plan(&plan, workspaceSize, executor);
}

/* biasSizes says what gradBias's shape says, and is not needed. */
HC_API aclnnStatus aclnnConvolutionBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *input, const aclTensor *weight,
    const aclIntArray *biasSizes, const aclIntArray *stride, const aclIntArray *padding,
    const aclIntArray *dilation, bool transposed, const aclIntArray *outputPadding, int groups,
    const aclBoolArray *outputMask, int8_t cubeMathType, aclTensor *gradInput, aclTensor *gradWeight,
    aclTensor *gradBias, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)biasSizes;
    const struct conv_call call = {.name = "aclnnConvolutionBackward",
                                   .input = input,
                                   .weight = weight,
                                   .output = gradOutput,
                                   .output_name = "gradOutput",
                                   .stride = stride,
                                   .padding = padding,
                                   .dilation = dilation,
                                   .output_padding = outputPadding,
                                   .transposed = transposed,
                                   .groups = groups,
                                   .cube_math_type = cubeMathType};
    const aclTensor *gradients[] = {gradInput, gradWeight, gradBias};
    return plan(&call, outputMask, gradients, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnConvolutionBackward)

/* self is the gradient of the output; its bias is only looked at for its shape. */
HC_API aclnnStatus aclnnConvTbcBackwardGetWorkspaceSize(const aclTensor *self, const aclTensor *input,
                                                        const aclTensor *weight, const aclTensor *bias,
                                                        int64_t pad, int8_t cubeMathType,
                                                        aclTensor *gradInput, aclTensor *gradWeight,
                                                        aclTensor *gradBias, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    struct conv_tbc t, d;
    HC_CHECK(gradInput && gradWeight && gradBias, ACLNN_ERR_PARAM_NULLPTR, "aclnnConvTbcBackward: %s is null",
             !gradInput    ? "gradInput"
             : !gradWeight ? "gradWeight"
                           : "gradBias");
    static const char *const arguments[] = {"input", "weight", "self"};
    static const char *const outputs[] = {"gradInput", "gradWeight", "self"};
    HC_TRY(conv_tbc_views("aclnnConvTbcBackward", arguments, input, weight, self, pad, &t));
    HC_TRY(conv_tbc_views("aclnnConvTbcBackward", outputs, gradInput, gradWeight, self, pad, &d));
    const struct conv_call call = {.name = "aclnnConvTbcBackward",
                                   .input = &t.x,
                                   .weight = &t.w,
                                   .bias = bias,
                                   .output = &t.y,
                                   .output_name = "self",
                                   .stride = &t.one,
                                   .padding = &t.pad,
                                   .dilation = &t.one,
                                   .groups = 1,
                                   .cube_math_type = cubeMathType};
    const struct aclBoolArray all = {GRADIENTS, (bool[]){true, true, true}};
    const aclTensor *gradients[] = {&d.x, &d.w, gradBias};
    return plan(&call, &all, gradients, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnConvTbcBackward)
