// SPDX-License-Identifier: Apache-2.0
/* 1 with probability p, else 0: a word below p * 2^64 (double precision keeps p exact to 2^-53). */
#include <math.h>

#include "philox.h"
#include "temporary.h"

/* prob: of the form with one for all. */
struct bernoulli {
    struct hc_philox philox;
    double prob;
};

/* prob 1 is always above, prob 0 never. */
static bool below(uint64_t word, double prob) { return hc_philox_unit_f64(word) < prob; }

/* 32 elements a group of words; the block type is truth values. */
static void one_probability(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const struct bernoulli *a = args;
    uint8_t *y = block;
    (void)index;
    for (size_t i = 0; i < n; i++)
        y[i] = below(hc_philox_u64(words + i / 32 * HC_PHILOX_GROUP, i % 32), a->prob);
}

/* args: the probabilities, contiguous, in the order of the elements. */
static void each_probability(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args) {
    const double *prob = (const double *)args + index;
    uint8_t *y = block;
    for (size_t i = 0; i < n; i++)
        y[i] = below(hc_philox_u64(words + i / 32 * HC_PHILOX_GROUP, i % 32), prob[i]);
}

static aclnnStatus bernoulli_run(const struct hc_call *call) {
    const struct bernoulli *a = call->args;
    const struct hc_random random = {a->philox, HC_B8, true, one_probability, a};
    return hc_random_fill(&random, hc_arg(call, 0));
}

/* Values of a tensor can only be checked in the run, before anything is written. */
static aclnnStatus check_probabilities(const aclTensor *prob) {
    const double *p = (const double *)hc_data(prob);
    for (size_t i = 0; i < hc_numel(prob); i++) {
        HC_CHECK(p[i] >= 0 && p[i] <= 1, ACLNN_ERR_PARAM_INVALID,
                 "aclnnInplaceBernoulliTensor: probability %g at element %zu is outside [0, 1]", p[i], i);
    }
    return 0;
}

/* The probabilities may be the output itself (x.bernoulli_(x)): then they are copied first. */
static aclnnStatus bernoulli_tensor_run(const struct hc_call *call) {
    const struct bernoulli *a = call->args;
    const aclTensor *out = hc_arg(call, 0);
    aclTensor prob, contiguous;
    void *owned = NULL;
    hc_broadcast_to(hc_arg(call, 1), out->shape, out->rank, &prob); /* checked in phase one */
    HC_TRY(hc_contiguous_apart(&prob, ACL_DOUBLE, out, &contiguous, &owned));
    aclnnStatus status = check_probabilities(&contiguous);
    const struct hc_random random = {a->philox, HC_B8, true, each_probability, hc_data(&contiguous)};
    if (status == 0) status = hc_random_fill(&random, out);
    hc_block_give(owned);
    return status;
}

/* self.bernoulli_(prob), into any dtype: the ones and zeros are converted. */
aclnnStatus aclnnInplaceBernoulliGetWorkspaceSize(const aclTensor *selfRef, const aclScalar *prob,
                                                  int64_t seed, int64_t offset, uint64_t *workspaceSize,
                                                  aclOpExecutor **executor) {
    HC_CHECK(selfRef != NULL && prob != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceBernoulli: %s is null",
             selfRef ? "prob" : "selfRef");
    const struct bernoulli args = {{(uint64_t)seed, (uint64_t)offset}, hc_scalar_f64(prob)};
    HC_CHECK(args.prob >= 0 && args.prob <= 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceBernoulli: probability %g is outside [0, 1]", args.prob);
    return HC_PLAN("aclnnInplaceBernoulli", bernoulli_run, &args, HC_OUT(selfRef));
}
HC_OP_LAUNCH(aclnnInplaceBernoulli)

/* The same with a probability per element, which broadcasts. */
aclnnStatus aclnnInplaceBernoulliTensorGetWorkspaceSize(const aclTensor *selfRef, const aclTensor *prob,
                                                        int64_t seed, int64_t offset, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    aclTensor view;
    HC_CHECK(selfRef != NULL && prob != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "aclnnInplaceBernoulliTensor: %s is null", selfRef ? "prob" : "selfRef");
    HC_CHECK(hc_broadcast_to(prob, selfRef->shape, selfRef->rank, &view), ACLNN_ERR_PARAM_INVALID,
             "aclnnInplaceBernoulliTensor: prob %s does not broadcast to %s", HC_SHOW(prob),
             HC_SHOW(selfRef));
    const struct bernoulli args = {{(uint64_t)seed, (uint64_t)offset}, 0};
    return HC_PLAN("aclnnInplaceBernoulliTensor", bernoulli_tensor_run, &args, HC_OUT(selfRef), HC_IN(prob));
}
HC_OP_LAUNCH(aclnnInplaceBernoulliTensor)
