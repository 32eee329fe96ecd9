// SPDX-License-Identifier: Apache-2.0
/* torch.nn.functional.conv1d, 2d, 3d and conv_transpose1d, 2d, 3d, and forms of them with other arguments.
 * What is not contiguous, or overlaps the output, is copied; the rest is conv_forward and conv_data. */
#include "conv.h"

struct args {
    struct conv_shape shape;
    bool transposed;
};

/* With contiguous tensors; `owned` keeps the copies. */
static aclnnStatus convolve(const struct args *args, const aclTensor *const *tensors, void **owned) {
    const aclTensor *input = tensors[0], *weight = tensors[1], *bias = tensors[2], *output = tensors[3];
    aclTensor in, w, b, out;
    HC_TRY(hc_contiguous_apart(input, input->dtype, output, &in, &owned[0]));
    HC_TRY(hc_contiguous_apart(weight, weight->dtype, output, &w, &owned[1]));
    if (bias != NULL) HC_TRY(hc_apart(bias, bias->dtype, output, &b, &owned[2]));
    HC_TRY(hc_contiguous_out(output, output->dtype, &out, &owned[3]));
    const struct conv_shape *s = &args->shape;
    const aclTensor *with = bias != NULL ? &b : NULL;
    HC_TRY(args->transposed ? conv_data(s, &in, &w, with, &out) : conv_forward(s, &in, &w, with, &out));
    return owned[3] != NULL ? hc_copy(output, &out) : 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *tensors[] = {hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2), hc_arg(call, 3)};
    void *owned[HC_ARRAY_SIZE(tensors)] = {0};
    if (tensors[3]->numel == 0) return 0;
    const aclnnStatus code = convolve(call->args, tensors, owned);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return code;
}

/* The order of the operands is what run counts on. */
static aclnnStatus plan(const struct conv_call *call, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.transposed = call->transposed};
    HC_TRY(conv_describe(call, &args.shape));
    const struct hc_operand operands[] = {{call->input, NULL, HC_ROLE_IN, "input"},
                                          {call->weight, NULL, HC_ROLE_IN, "weight"},
                                          {call->bias, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "bias"},
                                          {call->output, NULL, HC_ROLE_OUT, "output"}};
    const struct hc_plan plan = {.name = call->name,
                                 .run = run,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = HC_ARRAY_SIZE(operands),
                                 .flops = conv_flops(&args.shape)};
    return hc_plan(&plan, workspaceSize, executor);
}

HC_API aclnnStatus aclnnConvolutionGetWorkspaceSize(const aclTensor *input, const aclTensor *weight,
                                                    const aclTensor *bias, const aclIntArray *stride,
                                                    const aclIntArray *padding, const aclIntArray *dilation,
                                                    bool transposed, const aclIntArray *outputPadding,
                                                    const int64_t groups, aclTensor *output,
                                                    int8_t cubeMathType, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    const struct conv_call call = {.name = "aclnnConvolution",
                                   .input = input,
                                   .weight = weight,
                                   .bias = bias,
                                   .output = output,
                                   .output_name = "output",
                                   .stride = stride,
                                   .padding = padding,
                                   .dilation = dilation,
                                   .output_padding = outputPadding,
                                   .transposed = transposed,
                                   .groups = groups,
                                   .cube_math_type = cubeMathType};
    return plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnConvolution)

/* As many groups as channels. The size of the kernel is weight's; kernelSize has to agree. */
HC_API aclnnStatus aclnnConvDepthwise2dGetWorkspaceSize(const aclTensor *self, const aclTensor *weight,
                                                        const aclIntArray *kernelSize, const aclTensor *bias,
                                                        const aclIntArray *stride, const aclIntArray *padding,
                                                        const aclIntArray *dilation, aclTensor *out,
                                                        int8_t cubeMathType, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    HC_CHECK(self && weight && kernelSize, ACLNN_ERR_PARAM_NULLPTR, "aclnnConvDepthwise2d: %s is null",
             !self     ? "self"
             : !weight ? "weight"
                       : "kernelSize");
    HC_CHECK(self->rank == 4 && weight->rank == 4, ACLNN_ERR_PARAM_INVALID,
             "aclnnConvDepthwise2d: self is %s, weight %s: wanted 4 dimensions", HC_SHOW(self),
             HC_SHOW(weight));
    HC_CHECK(kernelSize->size == 2 && kernelSize->data[0] == weight->shape[2] &&
                 kernelSize->data[1] == weight->shape[3],
             ACLNN_ERR_PARAM_INVALID,
             "aclnnConvDepthwise2d: kernelSize has %zu values, wanted the last two sizes of weight %s",
             kernelSize->size, HC_SHOW(weight));
    const struct conv_call call = {.name = "aclnnConvDepthwise2d",
                                   .input = self,
                                   .weight = weight,
                                   .bias = bias,
                                   .output = out,
                                   .output_name = "out",
                                   .stride = stride,
                                   .padding = padding,
                                   .dilation = dilation,
                                   .groups = self->shape[1],
                                   .cube_math_type = cubeMathType};
    return plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnConvDepthwise2d)

/* self [T, B, C], weight [K, C, O], output [T', B, O]: a convolution along T of other views of the three. */
HC_API aclnnStatus aclnnConvTbcGetWorkspaceSize(const aclTensor *self, const aclTensor *weight,
                                                const aclTensor *bias, const int64_t pad, aclTensor *output,
                                                int8_t cubeMathType, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    struct conv_tbc t;
    static const char *const arguments[] = {"self", "weight", "output"};
    HC_TRY(conv_tbc_views("aclnnConvTbc", arguments, self, weight, output, pad, &t));
    const struct conv_call call = {.name = "aclnnConvTbc",
                                   .input = &t.x,
                                   .weight = &t.w,
                                   .bias = bias,
                                   .output = &t.y,
                                   .output_name = "output",
                                   .stride = &t.one,
                                   .padding = &t.pad,
                                   .dilation = &t.one,
                                   .groups = 1,
                                   .cube_math_type = cubeMathType};
    return plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnConvTbc)
