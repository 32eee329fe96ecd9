// SPDX-License-Identifier: Apache-2.0
/* The reduce skeleton through ReduceSum: every set of dimensions of every stride order against a plain
 * loop, sizes at the edges of tiles and chunks, and the same bits whatever the layout of the pieces. */
#include "acl/acl.h"
#include "aclnnop/aclnn_ops.h"
#include "hc_tensor.h"
#include "harness.h"

static void start(void) {
    static bool started;
    if (!started) CHECK(aclInit(NULL) == 0 && aclrtSetDevice(0) == 0);
    started = true;
}

static aclTensor view(aclDataType dtype, int32_t rank, const int64_t *shape, void *data) {
    return hc_tensor_view(dtype, shape, rank, data);
}

static int sum(const aclTensor *x, uint32_t mask, aclTensor *out) {
    int64_t dims[HC_MAX_RANK];
    size_t n = 0;
    uint64_t bytes;
    aclOpExecutor *executor;
    for (int64_t d = 0; d < x->rank; d++)
        if (mask >> d & 1) dims[n++] = d;
    aclIntArray *array = aclCreateIntArray(dims, n);
    int code = aclnnReduceSumGetWorkspaceSize(x, array, true, out->dtype, out, &bytes, &executor);
    if (code == 0) code = aclnnReduceSum(NULL, 0, executor, NULL);
    aclDestroyIntArray(array);
    return code ? code : aclrtSynchronizeStream(NULL);
}

/* Offsets in units of elements, of the element numbered i in row-major order. */
static int64_t offset(const aclTensor *t, int64_t i) {
    int64_t at = 0;
    for (int32_t d = t->rank - 1; d >= 0; d--) {
        at += i % t->shape[d] * t->stride[d];
        i /= t->shape[d];
    }
    return at;
}

static void check_sum(const aclTensor *x, uint32_t mask) {
    aclTensor out = *x;
    int64_t shape[HC_MAX_RANK];
    for (int32_t d = 0; d < x->rank; d++) shape[d] = mask >> d & 1 ? 1 : x->shape[d];
    out = view(ACL_INT64, x->rank, shape, NULL);
    int64_t *got = malloc((size_t)out.numel * sizeof *got), *want = calloc((size_t)out.numel, sizeof *want);
    out.base = (char *)got;
    aclTensor spread = out; /* the output as a view of the input's shape */
    for (int32_t d = 0; d < x->rank; d++) {
        spread.shape[d] = x->shape[d];
        if (mask >> d & 1) spread.stride[d] = 0;
    }
    for (int64_t i = 0; i < x->numel; i++)
        want[offset(&spread, i)] += ((const int32_t *)x->base)[offset(x, i)];
    CHECK(sum(x, mask, &out) == 0);
    CHECK(memcmp(got, want, (size_t)out.numel * sizeof *got) == 0);
    free(got);
    free(want);
}

TEST(every_mask_of_every_permutation) {
    static const int SWAPS[][2] = {{0, 0}, {0, 3}, {1, 2}, {0, 1}, {2, 3}};
    int32_t data[5 * 3 * 40 * 7];
    start();
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) data[i] = (int32_t)(i * 2654435761u >> 8);
    for (size_t s = 0; s < sizeof SWAPS / sizeof *SWAPS; s++) {
        aclTensor x = view(ACL_INT32, 4, (const int64_t[]){5, 3, 40, 7}, data);
        x = hc_transpose_view(&x, SWAPS[s][0], SWAPS[s][1]);
        for (uint32_t mask = 1; mask < 16; mask++) check_sum(&x, mask);
    }
}

TEST(edges_of_tiles_and_chunks) {
    static const int64_t SIZES[][2] = {{1, 511}, {3, 512}, {3, 513},   {1023, 2},  {1024, 2},  {1025, 2},
                                       {15, 40}, {16, 40}, {70000, 1}, {70001, 2}, {300, 700}, {2, 66000}};
    start();
    for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES; s++) {
        const int64_t count = SIZES[s][0] * SIZES[s][1];
        int32_t *data = malloc((size_t)count * sizeof *data);
        for (int64_t i = 0; i < count; i++) data[i] = (int32_t)(i * 7919 % 100003) - 50000;
        aclTensor x = view(ACL_INT32, 2, SIZES[s], data);
        for (int turn = 0; turn < 2; turn++, x = hc_transpose_view(&x, 0, 1)) {
            for (uint32_t mask = 1; mask < 4; mask++) check_sum(&x, mask);
        }
        free(data);
    }
}

TEST(repeated_runs_give_the_same_bits) {
    enum { N = 1 << 20 };
    float *data = malloc(N * sizeof *data), first, again;
    start();
    for (int i = 0; i < N; i++) data[i] = 1.0f / (float)(i % 9973 + 1) - 0.001f;
    aclTensor x = view(ACL_FLOAT, 1, (const int64_t[]){N}, data),
              out = view(ACL_FLOAT, 1, (const int64_t[]){1}, &first);
    CHECK(sum(&x, 1, &out) == 0);
    out.base = (char *)&again;
    for (int i = 0; i < 20; i++) {
        CHECK(sum(&x, 1, &out) == 0);
        CHECK(memcmp(&first, &again, sizeof first) == 0);
    }
    free(data);
}
