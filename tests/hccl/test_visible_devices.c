// SPDX-License-Identifier: Apache-2.0
/* Ranks that number the host's devices differently (ASCEND_RT_VISIBLE_DEVICES). */
#include "harness.h"
#include "hccl_ranks.h"

/* Device 0 of rank 0 is 5 of the host, device 1 of rank 1 is 4, device 2 is 6 for both. */
static int see_differently(uint32_t rank) {
    return setenv("ASCEND_RT_VISIBLE_DEVICES", rank == 0 ? "5,2,6" : "3,4,6", 1);
}

static int sum_of_ranks(struct rank *self) {
    float *x;
    EXPECT_OK(aclrtMalloc((void **)&x, 64, ACL_MEM_MALLOC_NORMAL_ONLY));
    *x = (float)self->rank + 1;
    EXPECT_OK(HcclAllReduce(x, x, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    EXPECT_OK(aclrtSynchronizeStream(self->stream));
    EXPECT(*x == 3, "%f", *x);
    EXPECT_OK(aclrtFree(x));
    return 0;
}

static int on_one_device(struct rank *self) {
    HcclComm comm = NULL;
    EXPECT_OK(sum_of_ranks(self));
    if (self->rank == 0) EXPECT_OK(HcclGetRootInfo(&self->shared->info));
    host_barrier(self);
    EXPECT_OK(aclrtSetDevice(2));
    EXPECT(HcclCommInitRootInfo(2, &self->shared->info, self->rank, &comm) == HCCL_E_PARA, "went on");
    EXPECT(strstr(aclGetRecentErrMsg(), "ranks 0 and 1 of host ") != NULL, "no ranks");
    EXPECT(strstr(aclGetRecentErrMsg(), "are both on device 6") != NULL, "no device");
    return 0;
}

TEST(physical_ids_tell_devices_apart) {
    before_rank = see_differently;
    CHECK(run_ranks(2, 60, on_one_device));
}
