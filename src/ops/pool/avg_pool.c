// SPDX-License-Identifier: Apache-2.0
/* torch.nn.functional.avg_pool2d, avg_pool3d, adaptive_avg_pool2d, adaptive_avg_pool3d and their gradients.
 * cubeMathType allows lower precision, which is not made use of. */
#include "average.h"

#define POOL(op, pooled_dims, pooled, strides_of, pads_of)                                                   \
    const struct pool_average_call call = {.pool = {.name = #op,                                             \
                                                    .dims = (pooled_dims),                                   \
                                                    .in = self,                                              \
                                                    .out = (pooled),                                         \
                                                    .in_name = "self",                                       \
                                                    .out_name = #pooled,                                     \
                                                    .kernel = kernelSize,                                    \
                                                    .stride = (strides_of),                                  \
                                                    .pad = (pads_of),                                        \
                                                    .stride_name = #strides_of,                              \
                                                    .pad_name = #pads_of,                                    \
                                                    .ceil_mode = ceilMode},                                  \
                                           .count_pad = countIncludePad,                                     \
                                           .divisor = divisorOverride}
#define ADAPTIVE(op, pooled_dims, pooled, size)                                                              \
    const struct pool_average_call call = {.pool = {.name = #op,                                             \
                                                    .dims = (pooled_dims),                                   \
                                                    .in = self,                                              \
                                                    .out = (pooled),                                         \
                                                    .in_name = "self",                                       \
                                                    .out_name = #pooled,                                     \
                                                    .adaptive = true,                                        \
                                                    .output_size = (size)}}

/* Divided by the elements of the window, those of the padding included if countIncludePad, but never those
 * that ceilMode lets it reach over beyond it; or by divisorOverride unless that is 0. */
HC_API aclnnStatus aclnnAvgPool2dGetWorkspaceSize(const aclTensor *self, const aclIntArray *kernelSize,
                                                  const aclIntArray *strides, const aclIntArray *paddings,
                                                  const bool ceilMode, const bool countIncludePad,
                                                  const int64_t divisorOverride, const int8_t cubeMathType,
                                                  aclTensor *out, uint64_t *workspaceSize,
                                                  aclOpExecutor **executor) {
    POOL(aclnnAvgPool2d, 2, out, strides, paddings);
    (void)cubeMathType;
    return pool_average_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAvgPool2d)

HC_API aclnnStatus aclnnAvgPool2dBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                          const aclIntArray *kernelSize,
                                                          const aclIntArray *stride,
                                                          const aclIntArray *padding, bool ceilMode,
                                                          bool countIncludePad, int64_t divisorOverride,
                                                          int8_t cubeMathType, aclTensor *gradInput,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    POOL(aclnnAvgPool2dBackward, 2, gradOutput, stride, padding);
    (void)cubeMathType;
    return pool_average_backward_plan(&call, gradInput, "gradInput", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAvgPool2dBackward)

HC_API aclnnStatus aclnnAvgPool3dGetWorkspaceSize(const aclTensor *self, const aclIntArray *kernelSize,
                                                  const aclIntArray *stride, const aclIntArray *padding,
                                                  bool ceilMode, bool countIncludePad,
                                                  int64_t divisorOverride, aclTensor *out,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    POOL(aclnnAvgPool3d, 3, out, stride, padding);
    return pool_average_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAvgPool3d)

HC_API aclnnStatus aclnnAvgPool3dBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclIntArray *kernelSize,
    const aclIntArray *stride, const aclIntArray *padding, bool ceilMode, bool countIncludePad,
    int64_t divisorOverride, aclTensor *output, uint64_t *workspaceSize, aclOpExecutor **executor) {
    POOL(aclnnAvgPool3dBackward, 3, gradOutput, stride, padding);
    return pool_average_backward_plan(&call, output, "output", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAvgPool3dBackward)

/* Window i of n over `in` elements: from floor(i in / n) to ceil((i + 1) in / n); each is divided by its own
 * number of elements. */
HC_API aclnnStatus aclnnAdaptiveAvgPool2dGetWorkspaceSize(const aclTensor *self,
                                                          const aclIntArray *outputSize, aclTensor *out,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(outputSize != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnAdaptiveAvgPool2d: outputSize is null");
    ADAPTIVE(aclnnAdaptiveAvgPool2d, 2, out, outputSize);
    return pool_average_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveAvgPool2d)

HC_API aclnnStatus aclnnAdaptiveAvgPool2dBackwardGetWorkspaceSize(const aclTensor *gradOutput,
                                                                  const aclTensor *self, aclTensor *out,
                                                                  uint64_t *workspaceSize,
                                                                  aclOpExecutor **executor) {
    ADAPTIVE(aclnnAdaptiveAvgPool2dBackward, 2, gradOutput, NULL);
    return pool_average_backward_plan(&call, out, "out", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveAvgPool2dBackward)

HC_API aclnnStatus aclnnAdaptiveAvgPool3dGetWorkspaceSize(const aclTensor *self,
                                                          const aclIntArray *outputSize, aclTensor *out,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(outputSize != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnAdaptiveAvgPool3d: outputSize is null");
    ADAPTIVE(aclnnAdaptiveAvgPool3d, 3, out, outputSize);
    return pool_average_plan(&call, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveAvgPool3d)

HC_API aclnnStatus aclnnAdaptiveAvgPool3dBackwardGetWorkspaceSize(const aclTensor *gradOutput,
                                                                  const aclTensor *self, aclTensor *out,
                                                                  uint64_t *workspaceSize,
                                                                  aclOpExecutor **executor) {
    ADAPTIVE(aclnnAdaptiveAvgPool3dBackward, 3, gradOutput, NULL);
    return pool_average_backward_plan(&call, out, "out", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdaptiveAvgPool3dBackward)
