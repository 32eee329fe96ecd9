// SPDX-License-Identifier: Apache-2.0
/* The loss scale after a step: times backoffFactor where an infinity was found, times growthFactor after
 * growthInterval good steps in a row (unless that overflows float32). All tensors have one element.
 *
 * Costs nothing but its place in the stream, which is the point: read on the host, foundInf would make
 * every step wait for its gradients. */
#include <math.h>

#include "foreach.h"

static const char NAME[] = "aclnnAmpUpdateScale";
/* By value in the interface, so part of the plan. */
struct factors {
    double growth, backoff;
    int64_t interval;
};

/* One element, whatever its type. */
static void write(const aclTensor *t, double value) {
    hc_store_for(t->dtype, HC_F64)(1, hc_data(t), 1, &value);
}

/* Growing is given up where it would overflow, and the tracker starts again all the same, as in PyTorch. */
static aclnnStatus run(const struct hc_call *call) {
    const struct factors *f = call->args;
    const double scale = hc_foreach_read(hc_arg(call, 0), 0).F64;
    const int64_t good = hc_foreach_read(hc_arg(call, 1), 0).I64 + 1;
    double next = scale;
    int64_t tracker = good;
    if (hc_foreach_read(hc_arg(call, 2), 0).F64 != 0) {
        next = scale * f->backoff;
        tracker = 0;
    } else if (good == f->interval) {
        const float grown = (float)(scale * f->growth);
        if (isfinite(grown)) next = (double)grown;
        tracker = 0;
    }
    write(hc_arg(call, 3), next);
    write(hc_arg(call, 4), (double)tracker);
    return 0;
}

/* torch._amp_update_scale_: the scale stays on the device, so a step needs no wait for foundInf. */
HC_API aclnnStatus aclnnAmpUpdateScaleGetWorkspaceSize(
    const aclTensor *currentScale, const aclTensor *growthTracker, const aclTensor *foundInf,
    double growthFactor, double backoffFactor, int64_t growthInterval, const aclTensor *updatedScale,
    const aclTensor *updatedGrowthTracker, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *tensors[] = {currentScale, growthTracker, foundInf, updatedScale, updatedGrowthTracker};
    static const char *const NAMES[] = {"currentScale", "growthTracker", "foundInf", "updatedScale",
                                        "updatedGrowthTracker"};
    for (size_t i = 0; i < HC_ARRAY_SIZE(tensors); i++) {
        HC_CHECK(tensors[i] && tensors[i]->numel == 1, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted one element", NAME, NAMES[i],
                 tensors[i] ? HC_SHOW(tensors[i]) : "null");
    }
    const struct factors args = {growthFactor, backoffFactor, growthInterval};
    return HC_PLAN(NAME, run, &args, HC_IN(currentScale), HC_IN(growthTracker), HC_IN(foundInf),
                   HC_OUT(updatedScale), HC_OUT(updatedGrowthTracker));
}
HC_OP_LAUNCH(aclnnAmpUpdateScale)
