// SPDX-License-Identifier: Apache-2.0
/* torch.nn.functional.max_pool2d, max_pool3d, adaptive_max_pool2d, adaptive_max_pool3d and their gradients.
 * torch_npu's max_pool2d takes the form with a mask, unless TORCH_NPU_USE_COMPATIBLE_IMPL=1. */
#include "max.h"

#define POOL(op, pooled_dims, pooled, with_mask)                                                             \
    const struct pool_max_call call = {.pool = {.name = #op,                                                 \
                                                .dims = (pooled_dims),                                       \
                                                .in = self,                                                  \
                                                .out = (pooled),                                             \
                                                .in_name = "self",                                           \
                                                .out_name = #pooled,                                         \
                                                .kernel = kernelSize,                                        \
                                                .stride = stride,                                            \
                                                .pad = padding,                                              \
                                                .dilation = dilation,                                        \
                                                .stride_name = "stride",                                     \
                                                .pad_name = "padding",                                       \
                                                .ceil_mode = ceilMode},                                      \
                                       .indices = indices,                                                   \
                                       .mask = (with_mask)}
#define ADAPTIVE(op, pooled_dims, pooled, pooled_indices, size)                                              \
    const struct pool_max_call call = {.pool = {.name = #op,                                                 \
                                                .dims = (pooled_dims),                                       \
                                                .in = self,                                                  \
                                                .out = (pooled),                                             \
                                                .in_name = "self",                                           \
                                                .out_name = #pooled,                                         \
                                                .adaptive = true,                                            \
                                                .output_size = (size)},                                      \
                                       .indices = (pooled_indices)}

/* indices: int32 or int64, places in the plane of the input, as PyTorch has them. */
HC_API aclnnStatus aclnnMaxPool2dWithIndicesGetWorkspaceSize(
    const aclTensor *self, const aclIntArray *kernelSize, const aclIntArray *stride,
    const aclIntArray *padding, const aclIntArray *dilation, bool ceilMode, aclTensor *out,
    aclTensor *indices, uint64_t *workspaceSize, aclOpExecutor **executor) {
    POOL(aclnnMaxPool2dWithIndices, 2, out, false);
    return pool_max_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMaxPool2dWithIndices)

HC_API aclnnStatus aclnnMaxPool2dWithIndicesBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclTensor *indices,
    const aclIntArray *kernelSize, const aclIntArray *stride, const aclIntArray *padding,
    const aclIntArray *dilation, bool ceilMode, aclTensor *gradInput, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    POOL(aclnnMaxPool2dWithIndicesBackward, 2, gradOutput, false);
    return pool_max_backward_plan(&call, gradInput, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMaxPool2dWithIndicesBackward)

/* indices: a mask of bits, which only the gradient reads. Its size is the interface's, its layout ours: a row
 * of bytes per element of the window, a bit per result. */
HC_API aclnnStatus aclnnMaxPool2dWithMaskGetWorkspaceSize(
    const aclTensor *self, const aclIntArray *kernelSize, const aclIntArray *stride,
    const aclIntArray *padding, const aclIntArray *dilation, bool ceilMode, aclTensor *out,
    aclTensor *indices, uint64_t *workspaceSize, aclOpExecutor **executor) {
    POOL(aclnnMaxPool2dWithMask, 2, out, true);
    return pool_max_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMaxPool2dWithMask)

HC_API aclnnStatus aclnnMaxPool2dWithMaskBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclTensor *indices,
    const aclIntArray *kernelSize, const aclIntArray *stride, const aclIntArray *padding,
    const aclIntArray *dilation, bool ceilMode, aclTensor *gradInput, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    POOL(aclnnMaxPool2dWithMaskBackward, 2, gradOutput, true);
    return pool_max_backward_plan(&call, gradInput, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMaxPool2dWithMaskBackward)

/* The same in three dimensions: places count through the whole volume. */
HC_API aclnnStatus aclnnMaxPool3dWithArgmaxGetWorkspaceSize(
    const aclTensor *self, const aclIntArray *kernelSize, const aclIntArray *stride,
    const aclIntArray *padding, const aclIntArray *dilation, bool ceilMode, aclTensor *out,
    aclTensor *indices, uint64_t *workspaceSize, aclOpExecutor **executor) {
    POOL(aclnnMaxPool3dWithArgmax, 3, out, false);
    return pool_max_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMaxPool3dWithArgmax)

HC_API aclnnStatus aclnnMaxPool3dWithArgmaxBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclTensor *indices,
    const aclIntArray *kernelSize, const aclIntArray *stride, const aclIntArray *padding,
    const aclIntArray *dilation, bool ceilMode, aclTensor *gradInput, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    POOL(aclnnMaxPool3dWithArgmaxBackward, 3, gradOutput, false);
    return pool_max_backward_plan(&call, gradInput, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMaxPool3dWithArgmaxBackward)

/* Window i of n over `in` elements: from floor(i in / n) to ceil((i + 1) in / n). The gradient needs no list:
 * the sizes are those of its tensors. */
HC_API aclnnStatus aclnnAdaptiveMaxPool2dGetWorkspaceSize(const aclTensor *self,
                                                          const aclIntArray *outputSize, aclTensor *outputOut,
                                                          aclTensor *indicesOut, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    HC_CHECK(outputSize != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnAdaptiveMaxPool2d: outputSize is null");
    ADAPTIVE(aclnnAdaptiveMaxPool2d, 2, outputOut, indicesOut, outputSize);
    return pool_max_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveMaxPool2d)

HC_API aclnnStatus aclnnAdaptiveMaxPool2dBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclTensor *indices, aclTensor *gradInput,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    ADAPTIVE(aclnnAdaptiveMaxPool2dBackward, 2, gradOutput, indices, NULL);
    return pool_max_backward_plan(&call, gradInput, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveMaxPool2dBackward)

HC_API aclnnStatus aclnnAdaptiveMaxPool3dGetWorkspaceSize(const aclTensor *self,
                                                          const aclIntArray *outputSize, aclTensor *outputOut,
                                                          aclTensor *indicesOut, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    HC_CHECK(outputSize != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnAdaptiveMaxPool3d: outputSize is null");
    ADAPTIVE(aclnnAdaptiveMaxPool3d, 3, outputOut, indicesOut, outputSize);
    return pool_max_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveMaxPool3d)

HC_API aclnnStatus aclnnAdaptiveMaxPool3dBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclTensor *indices, aclTensor *gradInput,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    ADAPTIVE(aclnnAdaptiveMaxPool3dBackward, 3, gradOutput, indices, NULL);
    return pool_max_backward_plan(&call, gradInput, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveMaxPool3dBackward)
