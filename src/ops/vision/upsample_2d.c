// SPDX-License-Identifier: Apache-2.0
/* torch.nn.functional.interpolate of images by modes nearest, bilinear and bicubic, and its gradients. */
#include "upsample.h"

/* out is the image that sizes or scales ask for; a scale of 0 is none, and follows from the sizes. */
#define FORWARD(op, of_kind, corners, scale_h, scale_w)                                                      \
    const struct upsample_call call = {.name = #op,                                                          \
                                       .kind = (of_kind),                                                    \
                                       .large = out,                                                         \
                                       .small = self,                                                        \
                                       .large_name = "out",                                                  \
                                       .small_name = "self",                                                 \
                                       .output_size = outputSize,                                            \
                                       .align_corners = (corners),                                           \
                                       .scales = {(scale_h), (scale_w)}};                                    \
    return upsample_plan(&call, workspaceSize, executor)

/* The gradient of the small image from that of the large one, which has the forward's output size. */
#define BACKWARD(op, of_kind, corners, out)                                                                  \
    const struct upsample_call call = {.name = #op,                                                          \
                                       .kind = (of_kind),                                                    \
                                       .backward = true,                                                     \
                                       .large = gradOut,                                                     \
                                       .small = (out),                                                       \
                                       .large_name = "gradOut",                                              \
                                       .small_name = #out,                                                   \
                                       .output_size = outputSize,                                            \
                                       .input_size = inputSize,                                              \
                                       .align_corners = (corners),                                           \
                                       .scales = {scalesH, scalesW}};                                        \
    return upsample_plan(&call, workspaceSize, executor)

/* F.interpolate(self, outputSize, mode="bilinear", align_corners=alignCorners) */
HC_API aclnnStatus aclnnUpsampleBilinear2dGetWorkspaceSize(
    const aclTensor *self, const aclIntArray *outputSize, const bool alignCorners, const double scalesH,
    const double scalesW, aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    FORWARD(aclnnUpsampleBilinear2d, UPSAMPLE_LINEAR, alignCorners, scalesH, scalesW);
}
HC_OP_LAUNCH(aclnnUpsampleBilinear2d)

/* The same with mode="bicubic". */
HC_API aclnnStatus aclnnUpsampleBicubic2dGetWorkspaceSize(const aclTensor *self,
                                                          const aclIntArray *outputSize,
                                                          const bool alignCorners, const double scalesH,
                                                          const double scalesW, aclTensor *out,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    FORWARD(aclnnUpsampleBicubic2d, UPSAMPLE_CUBIC, alignCorners, scalesH, scalesW);
}
HC_OP_LAUNCH(aclnnUpsampleBicubic2d)

/* The same with mode="nearest"; corners mean nothing to it. */
HC_API aclnnStatus aclnnUpsampleNearest2dGetWorkspaceSize(const aclTensor *self,
                                                          const aclIntArray *outputSize, aclTensor *out,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    FORWARD(aclnnUpsampleNearest2d, UPSAMPLE_NEAREST, false, 0, 0);
}
HC_OP_LAUNCH(aclnnUpsampleNearest2d)

/* With scales of its own, which the interface hands over as float. */
HC_API aclnnStatus aclnnUpsampleNearest2dV2GetWorkspaceSize(const aclTensor *self,
                                                            const aclIntArray *outputSize, float scalesH,
                                                            float scalesW, aclTensor *out,
                                                            uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    FORWARD(aclnnUpsampleNearest2dV2, UPSAMPLE_NEAREST, false, (double)scalesH, (double)scalesW);
}
HC_OP_LAUNCH(aclnnUpsampleNearest2dV2)

HC_API aclnnStatus aclnnUpsampleBilinear2dBackwardGetWorkspaceSize(
    const aclTensor *gradOut, const aclIntArray *outputSize, const aclIntArray *inputSize, bool alignCorners,
    double scalesH, double scalesW, aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    BACKWARD(aclnnUpsampleBilinear2dBackward, UPSAMPLE_LINEAR, alignCorners, out);
}
HC_OP_LAUNCH(aclnnUpsampleBilinear2dBackward)

HC_API aclnnStatus aclnnUpsampleBilinear2dBackwardV2GetWorkspaceSize(
    const aclTensor *gradOut, const aclIntArray *outputSize, const aclIntArray *inputSize, bool alignCorners,
    double scalesH, double scalesW, aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    BACKWARD(aclnnUpsampleBilinear2dBackwardV2, UPSAMPLE_LINEAR, alignCorners, out);
}
HC_OP_LAUNCH(aclnnUpsampleBilinear2dBackwardV2)

HC_API aclnnStatus aclnnUpsampleBicubic2dBackwardGetWorkspaceSize(
    const aclTensor *gradOut, const aclIntArray *outputSize, const aclIntArray *inputSize,
    const bool alignCorners, double scalesH, double scalesW, aclTensor *gradInput, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    BACKWARD(aclnnUpsampleBicubic2dBackward, UPSAMPLE_CUBIC, alignCorners, gradInput);
}
HC_OP_LAUNCH(aclnnUpsampleBicubic2dBackward)

HC_API aclnnStatus aclnnUpsampleNearest2dBackwardGetWorkspaceSize(
    const aclTensor *gradOut, const aclIntArray *outputSize, const aclIntArray *inputSize, double scalesH,
    double scalesW, aclTensor *gradInput, uint64_t *workspaceSize, aclOpExecutor **executor) {
    BACKWARD(aclnnUpsampleNearest2dBackward, UPSAMPLE_NEAREST, false, gradInput);
}
HC_OP_LAUNCH(aclnnUpsampleNearest2dBackward)
