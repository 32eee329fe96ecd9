// SPDX-License-Identifier: Apache-2.0
/* A random permutation of 0 .. n - 1: Fisher and Yates' shuffle, one 64-bit word a step. Steps depend on
 * each other, so it runs in one thread, O(n); bound by the cache misses of its random exchanges. */

#include "elementwise.h"
#include "philox.h"

enum { WORDS_64 = HC_PHILOX_GROUP / 2 };

/* n is out's size. */
struct randperm {
    struct hc_philox philox;
    int64_t n;
};

/* `other` is uniform in [step, n), by the product of random_from_to.c. */
static void shuffle(const struct hc_philox *philox, int64_t *values, size_t n) {
    uint32_t group[HC_PHILOX_GROUP];
    for (size_t step = 0; step + 1 < n; step++) {
        if (step % WORDS_64 == 0) HC_DISPATCH(hc_philox_words)(philox, step / WORDS_64, 1, group);
        const uint64_t word = hc_philox_u64(group, step % WORDS_64), left = n - step;
        const size_t other = step + (size_t)(((unsigned __int128)word * left) >> 64);
        const int64_t value = values[step];
        values[step] = values[other];
        values[other] = value;
    }
}

static aclnnStatus randperm_run(const struct hc_call *call) {
    const struct randperm *a = call->args;
    const size_t n = (size_t)a->n;
    int64_t *values = hc_block_take_array(n, sizeof *values);
    HC_CHECK(values != NULL, ACLNN_ERR_INNER, "aclnnRandperm: out of host memory for %zu elements", n);
    for (size_t i = 0; i < n; i++) values[i] = (int64_t)i;
    shuffle(&a->philox, values, n);
    const aclTensor view = hc_tensor_view(ACL_INT64, &a->n, 1, values);
    const aclnnStatus status = hc_copy(hc_arg(call, 0), &view);
    hc_block_give(values);
    return status;
}

/* torch.randperm(n). */
aclnnStatus aclnnRandpermGetWorkspaceSize(int64_t n, int64_t seed, int64_t offset, aclTensor *out,
                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnRandperm: out is null");
    HC_CHECK(n >= 0 && out->rank == 1 && out->shape[0] == n, ACLNN_ERR_PARAM_INVALID,
             "aclnnRandperm: out is %s for n %lld, wanted one dimension of n elements, n not negative",
             HC_SHOW(out), (long long)n);
    const struct randperm args = {{(uint64_t)seed, (uint64_t)offset}, n};
    return HC_PLAN("aclnnRandperm", randperm_run, &args, HC_OUT(out));
}
HC_OP_LAUNCH(aclnnRandperm)
